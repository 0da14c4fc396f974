//! `load_module`: modules that nginx loads from files, and that are built in here, or are not to be had.
//!
//! ```nginx
//! load_module modules/ngx_http_image_filter_module.so;
//! ```

use std::path::Path;

use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::Shared;

/// Takes note that a module is wanted. Nothing is loaded: what is built in is there, and a directive of
/// what is not is an error where it stands, so that a module nobody uses is no reason to stop.
pub(crate) fn load_module(
    shared: &mut Shared,
    is_late: bool,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if is_late {
        let message = "\"load_module\" directive is specified too late";
        return Err(Diagnostic::new(directive.span, message).label("expected before `events`"));
    }
    let file = Path::new(&word.text).file_stem();
    let name = file.map_or_else(
        || word.text.clone(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let short = name.strip_prefix("ngx_").unwrap_or(&name);
    if !(shared.vocabulary.has_module)(short) {
        let message = format!("module \"{name}\" is not built in");
        let warning = Diagnostic::new(word.span, message)
            .label("its directives are not known here")
            .help("no files are loaded into Revolve: remove the line, and the directives of the module");
        shared.diagnostics.push(warning.warn());
    }
    Ok(())
}
