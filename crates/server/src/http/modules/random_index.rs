//! `random_index`: any file of a folder stands for it.
//!
//! ```nginx
//! location / { random_index on; }
//! ```

use revolve_conf::directive::Args;

use crate::config::scope::LOCATION;
use crate::config::setting::settings;
use crate::http::modules::index::modules_may_answer;
use crate::http::modules::{Module, folder};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_random_index_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, |it| it.random_index.enabled, handle)],
    ..Module::EMPTY
};

settings! {
    /// Any file of a folder stands for it.
    pub struct RandomIndexSettings / RawRandomIndex {
        inherit {
            /// `random_index`, default off.
            enabled: bool = false,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "random_index",
    contexts: LOCATION,
    args: Args::FLAG,
    set: slot!(flag random_index.enabled),
}];

/// Content phase: a path that ends with a slash becomes that of one of the folder's files.
///
/// Source: nginx's `ngx_http_random_index_handler`.
fn handle(request: &mut Request) -> Outcome {
    if !request.path.ends_with(b"/") || !modules_may_answer(request) {
        return Outcome::Next;
    }
    let mut files = match folder::entries(request) {
        Ok(entries) => entries,
        Err(status) => return Outcome::Finish(status),
    };
    files.retain(|entry| entry.metadata.is_file());
    if files.is_empty() {
        return Outcome::Next;
    }
    let drawn = request.http_loop.random() % files.len() as u64;
    let mut path = request.take_spare();
    path.extend_from_slice(&request.path);
    path.extend_from_slice(&files[drawn as usize].name);
    Outcome::Redirect(path, None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::http::testing::TestSite;

    #[test]
    fn every_file_has_its_turn_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b.txt", "c d", ".hidden"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("folder/none")).unwrap();
        let mut site = TestSite::new(&format!(
            "location / {{ root {}; random_index on; }}",
            folder.path().display()
        ));
        let mut seen = HashSet::new();
        for _ in 0..200 {
            seen.insert(site.ask("GET / HTTP/1.1").0);
        }
        let all = ["200\na.txt", "200\nb.txt", "200\nc d"].map(str::to_owned);
        assert_eq!(seen, HashSet::from(all));
        assert!(site.ask("GET /folder/ HTTP/1.1").0.starts_with("403\n"));
        assert!(site.ask("GET /missing/ HTTP/1.1").0.starts_with("404\n"));
    }
}
