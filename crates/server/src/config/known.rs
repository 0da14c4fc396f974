//! Names that nginx knows and Revolve does not have yet: refused, with the reason.

use revolve_conf::{Diagnostic, Directive};

/// Every directive of nginx 1.31 with its module, `module<TAB>directive` a line.
const NGINX_DIRECTIVES: &str = include_str!("nginx_directives.tsv");

/// The diagnostic for a directive that no table holds.
///
/// `names` are those of all tables.
pub(crate) fn unknown<'a>(
    directive: &Directive,
    names: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    if let Some(module) = nginx_module(&directive.name.text) {
        return revolve_conf::directive::unknown(directive, std::iter::empty())
            .label(format!(
                "nginx has it in {module}; Revolve does not have it yet"
            ))
            .help("remove the line or put # before it: Revolve ignores no directive in silence");
    }
    revolve_conf::directive::unknown(directive, names)
        .label("neither Revolve nor nginx has this directive")
}

fn nginx_module(name: &str) -> Option<&'static str> {
    NGINX_DIRECTIVES
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .find(|(_, directive)| *directive == name)
        .map(|(module, _)| module)
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_the_module_of_a_directive() {
        assert_eq!(
            super::nginx_module("ssl_protocols"),
            Some("http_ssl_module")
        );
        assert_eq!(super::nginx_module("gzip"), Some("http_gzip_filter_module"));
        assert_eq!(super::nginx_module("nonsense"), None);
    }
}
