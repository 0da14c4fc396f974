//! What rustfmt and clippy do not hold: documented roots, no leftovers, no stray white space.

use super::finding::Finding;
use super::tree::{SourceFile, Tree};
use super::workspace::Workspace;

/// Macros that mark unfinished work or a forgotten print.
const LEFTOVERS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Crate roots without documentation, leftovers, tabs and white space at the ends of lines.
pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.files.iter().flat_map(leftovers).collect();
    findings.extend(tree.files.iter().flat_map(white_space));
    for target in workspace
        .packages
        .iter()
        .flat_map(|package| &package.targets)
    {
        findings.extend(tree.file(&target.path).and_then(undocumented));
    }
    findings
}

fn leftovers(file: &SourceFile) -> impl Iterator<Item = Finding> + '_ {
    LEFTOVERS.into_iter().flat_map(move |name| {
        file.lines_with_macro(name).into_iter().map(move |line| {
            let problem = format!("`{name}!` is a leftover");
            Finding::new(
                &file.path,
                line,
                problem,
                "finish the work, or remove the call",
            )
        })
    })
}

fn white_space(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            let problem = "white space at the end of the line";
            findings.push(Finding::new(&file.path, at + 1, problem, "remove it"));
        }
        if line.contains('\t') {
            let remedy = "indent with four spaces; write `\\t` in strings";
            findings.push(Finding::new(&file.path, at + 1, "a tab", remedy));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        let line = file.text.lines().count();
        findings.push(Finding::new(
            &file.path,
            line,
            "no newline at the end",
            "add it",
        ));
    }
    findings
}

fn undocumented(file: &SourceFile) -> Option<Finding> {
    let syntax = file.syntax.as_ref().ok()?;
    let documented = syntax
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"));
    let problem = "the root of a crate without documentation";
    let remedy = "begin the file with `//!` and say what it is";
    (!documented).then(|| Finding::new(&file.path, 1, problem, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::workspace::{Package, Target};
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        let package = Package {
            name: "p".into(),
            manifest: "Cargo.toml".into(),
            targets: vec![Target {
                kind: "example".into(),
                path: "a.rs".into(),
            }],
            dependencies: Vec::new(),
        };
        check(
            &Tree::of(&[("a.rs", text)]),
            &Workspace {
                packages: vec![package],
            },
        )
    }

    #[test]
    fn a_documented_tidy_file_passes() {
        assert_eq!(findings("//! What it is.\n\nfn main() {}\n"), []);
    }

    #[test]
    fn a_root_without_documentation_is_found() {
        assert_eq!(findings("// A comment is not documentation.\n").len(), 1);
    }

    #[test]
    fn leftovers_are_found_in_code_alone() {
        let call = ["todo", "!()"].concat();
        assert_eq!(findings(&format!("//! D.\nfn f() {{ {call} }}\n")).len(), 1);
        assert_eq!(
            findings(&format!("//! D.\n// {call}\nfn todo() {{}}\n")),
            []
        );
    }

    #[test]
    fn white_space_is_found() {
        assert_eq!(findings("//! D.\nfn f() {} \n").len(), 1);
        assert_eq!(findings("//! D.\nfn f()\t{}\n").len(), 1);
        assert_eq!(findings("//! D.").len(), 1);
    }
}
