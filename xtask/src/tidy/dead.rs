//! No dead files: every Rust file is reached from the root of some target.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::{MODULES_MACRO, SourceFile, Tree, listed_modules};
use super::workspace::Workspace;

/// Rust files that no `mod` reaches, and `mod`s whose file is missing.
pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut findings = Vec::new();
    for target in workspace
        .packages
        .iter()
        .flat_map(|package| &package.targets)
    {
        let folder = parent(&target.path).to_owned();
        follow(tree, &target.path, &folder, &mut reached, &mut findings);
    }
    for file in tree
        .files
        .iter()
        .filter(|file| !reached.contains(&file.path))
    {
        findings.push(Finding::new(
            &file.path,
            1,
            "no target reaches this file",
            "declare it with `mod`, give it a target in Cargo.toml, or delete it",
        ));
    }
    findings
}

/// Marks the file at `path`, and what its modules reach. `folder` is where its children lie.
fn follow(
    tree: &Tree,
    path: &str,
    folder: &str,
    reached: &mut BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    let Some(file) = tree.file(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    for included in includes(file) {
        let included = join(parent(path), &included);
        let folder = parent(&included).to_owned();
        follow(tree, &included, &folder, reached, findings);
    }
    let Ok(syntax) = &file.syntax else { return };
    let mut children = Vec::new();
    children_of(&syntax.items, parent(path), folder, &mut children);
    for child in children {
        match child
            .candidates
            .iter()
            .find(|candidate| tree.file(candidate).is_some())
        {
            Some(found) => {
                let folder = child_folder(found);
                follow(tree, found, &folder, reached, findings);
            }
            None => findings.push(Finding::new(
                path,
                child.line,
                format!("there is no file for `mod {}`", child.name),
                format!("create {}", child.candidates.join(" or ")),
            )),
        }
    }
}

struct Child {
    name: String,
    line: usize,
    /// Where its file may lie, in the order in which rustc looks.
    candidates: Vec<String>,
}

/// The modules that `items` declare without a body, those inside inline modules too.
fn children_of(items: &[syn::Item], beside: &str, folder: &str, children: &mut Vec<Child>) {
    for item in items {
        let module = match item {
            syn::Item::Mod(module) => module,
            syn::Item::Macro(listing) if listing.mac.path.is_ident(MODULES_MACRO) => {
                let listed = listed_modules(&listing.mac.tokens);
                children.extend(listed.iter().map(|name| child(name, folder)));
                continue;
            }
            _ => continue,
        };
        let name = module.ident.to_string();
        match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, inner)), _) => children_of(inner, beside, &join(folder, &name), children),
            (None, Some(given)) => children.push(Child {
                candidates: vec![join(beside, &given)],
                ..child(&module.ident, folder)
            }),
            (None, None) => children.push(child(&module.ident, folder)),
        }
    }
}

fn child(name: &syn::Ident, folder: &str) -> Child {
    Child {
        name: name.to_string(),
        line: name.span().start().line,
        candidates: vec![
            join(folder, &format!("{name}.rs")),
            join(folder, &format!("{name}/mod.rs")),
        ],
    }
}

/// The folder in which the children of the module at `path` lie.
fn child_folder(path: &str) -> String {
    match path.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_owned(),
        None => path.strip_suffix(".rs").unwrap_or(path).to_owned(),
    }
}

/// The text of `#[path = "..."]`.
fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        let syn::Expr::Lit(literal) = &pair.value else {
            return None;
        };
        match &literal.lit {
            syn::Lit::Str(text) if pair.path.is_ident("path") => Some(text.value()),
            _ => None,
        }
    })
}

/// Files that are included as code, `include!("x.rs")`.
fn includes(file: &SourceFile) -> Vec<String> {
    let lines = file.lines_with_macro("include");
    let quoted = |line: &usize| {
        let text = file.text.lines().nth(line - 1)?;
        let (_, rest) = text.split_once("include!(\"")?;
        rest.split_once('"').map(|(name, _)| name.to_owned())
    };
    lines.iter().filter_map(quoted).collect()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins and resolves `.` and `..`.
fn join(folder: &str, rest: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(rest.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::workspace::{Package, Target};
    use super::*;

    fn findings(files: &[(&str, &str)], roots: &[&str]) -> Vec<Finding> {
        let targets = roots
            .iter()
            .map(|path| Target {
                kind: "lib".into(),
                path: (*path).into(),
            })
            .collect();
        let package = Package {
            name: "p".into(),
            manifest: "Cargo.toml".into(),
            targets,
            dependencies: Vec::new(),
        };
        check(
            &Tree::of(files),
            &Workspace {
                packages: vec![package],
            },
        )
    }

    #[test]
    fn modules_are_followed_in_all_their_forms() {
        let files = [
            (
                "src/lib.rs",
                "mod a;\nmod b;\n#[path = \"odd.rs\"]\nmod c;\nmod d { mod e; }\nmodules! { g { g: G } }\n",
            ),
            ("src/a.rs", "mod inner;\n"),
            ("src/a/inner.rs", "include!(\"table.rs\");\n"),
            ("src/a/table.rs", ""),
            ("src/b/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            ("src/b/tests.rs", ""),
            ("src/odd.rs", ""),
            ("src/d/e.rs", ""),
            ("src/g.rs", ""),
            ("tests/t.rs", "mod support;\n"),
            ("tests/support/mod.rs", ""),
        ];
        assert_eq!(findings(&files, &["src/lib.rs", "tests/t.rs"]), []);
    }

    #[test]
    fn a_file_that_nothing_reaches_is_dead() {
        let files = [("src/lib.rs", "// mod old;\n"), ("src/old.rs", "")];
        let found = findings(&files, &["src/lib.rs"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "src/old.rs");
    }

    #[test]
    fn a_module_without_a_file_is_named() {
        let found = findings(&[("src/lib.rs", "\nmod gone;\n")], &["src/lib.rs"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].remedy.contains("src/gone.rs or src/gone/mod.rs"));
    }
}
