//! Unsafe code stands in one place, and every other crate forbids it.

use super::allowances::Allowances;
use super::finding::Finding;
use super::tree::Tree;
use super::workspace::{Package, Workspace};

/// Folders and files in which unsafe code may stand, each block with its reason.
const UNSAFE_FOLDERS: &[&str] = &["crates/reactor/src/sys/", "crates/shm/src/map.rs"];
/// Packages whose library cannot forbid unsafe code: they deny it, and allow it where it stands.
const UNSAFE_PACKAGES: &[&str] = &["revolve-reactor", "revolve-shm"];

/// Unsafe code out of its place, listed places without any, and crate roots that do not forbid it.
pub(super) fn check(tree: &Tree, workspace: &Workspace, allowances: &Allowances) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let lines = file.lines_with_ident("unsafe");
        let listed = allowances.unsafe_paths.get(&file.path);
        let allowed = UNSAFE_FOLDERS
            .iter()
            .any(|folder| file.path.starts_with(folder));
        match listed {
            Some(listed_at) if lines.is_empty() => findings.push(Finding::new(
                &allowances.list_path,
                *listed_at,
                format!("{} holds no unsafe code", file.path),
                "remove this line",
            )),
            None if !allowed => findings.extend(lines.into_iter().map(|line| {
                Finding::new(
                    &file.path,
                    line,
                    format!("unsafe code outside of {}", UNSAFE_FOLDERS.join(", ")),
                    "use a safe interface (rustix), or move it there with its reason",
                )
            })),
            _ => {}
        }
    }
    for (path, listed_at) in &allowances.unsafe_paths {
        if tree.file(path).is_none() {
            let problem = format!("there is no file {path}");
            let remedy = "remove this line";
            findings.push(Finding::new(
                &allowances.list_path,
                *listed_at,
                problem,
                remedy,
            ));
        }
    }
    findings.extend(
        workspace
            .packages
            .iter()
            .flat_map(|package| roots(tree, package)),
    );
    findings
}

/// Library and program roots that neither forbid unsafe code nor, where it has a place, deny it.
fn roots<'a>(tree: &'a Tree, package: &'a Package) -> impl Iterator<Item = Finding> + 'a {
    let level = if UNSAFE_PACKAGES.contains(&package.name.as_str()) {
        "deny"
    } else {
        "forbid"
    };
    let fuzz = |path: &str| path.starts_with("fuzz/");
    package
        .targets
        .iter()
        .filter(move |target| {
            matches!(target.kind.as_str(), "lib" | "bin" | "proc-macro") && !fuzz(&target.path)
        })
        .filter_map(move |target| {
            let file = tree.file(&target.path)?;
            let syntax = file.syntax.as_ref().ok()?;
            let held = syntax.attrs.iter().any(|attribute| holds(attribute, level));
            let problem = format!("this crate does not {level} unsafe code");
            let remedy =
                format!("write `#![{level}(unsafe_code)]` below the crate's documentation");
            (!held).then(|| Finding::new(&target.path, 1, problem, remedy))
        })
}

/// Whether `attribute` is `#![level(.. unsafe_code ..)]`, or the stricter `forbid`.
fn holds(attribute: &syn::Attribute, level: &str) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let named = list.path.is_ident(level) || list.path.is_ident("forbid");
    named
        && list
            .tokens
            .to_string()
            .split([',', ' '])
            .any(|lint| lint == "unsafe_code")
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Target;
    use super::*;

    fn findings(package: &str, path: &str, text: &str, list: &str) -> Vec<Finding> {
        let workspace = Workspace {
            packages: vec![Package {
                name: package.into(),
                manifest: "Cargo.toml".into(),
                targets: vec![Target {
                    kind: "lib".into(),
                    path: path.into(),
                }],
                dependencies: Vec::new(),
            }],
        };
        let (allowances, unreadable) = Allowances::parse("list", list);
        assert!(unreadable.is_empty());
        check(&Tree::of(&[(path, text)]), &workspace, &allowances)
    }

    #[test]
    fn a_root_must_forbid_unsafe_code() {
        assert_eq!(
            findings("a", "a/lib.rs", "#![forbid(unsafe_code)]\n", ""),
            []
        );
        assert_eq!(
            findings("a", "a/lib.rs", "#![warn(x)]\n#![deny(unsafe_code)]\n", "").len(),
            1
        );
        assert_eq!(
            findings("a", "a/lib.rs", "// #![forbid(unsafe_code)]\n", "").len(),
            1
        );
        assert_eq!(
            findings("revolve-reactor", "a.rs", "#![deny(unsafe_code)]\n", ""),
            []
        );
        assert_eq!(
            findings("revolve-reactor", "a.rs", "#![forbid(unsafe_code)]\n", ""),
            []
        );
        assert_eq!(findings("revolve-reactor", "a.rs", "", "").len(), 1);
    }

    #[test]
    fn unsafe_code_stands_under_sys_or_where_it_is_listed() {
        let text = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        let found = findings("a", "a/lib.rs", text, "");
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert_eq!(
            findings("a", "crates/reactor/src/sys/epoll.rs", text, ""),
            []
        );
        assert_eq!(findings("a", "crates/shm/src/map.rs", text, ""), []);
        assert_eq!(findings("a", "crates/shm/src/lock.rs", text, "").len(), 1);
        assert_eq!(findings("a", "a/lib.rs", text, "unsafe a/lib.rs"), []);
    }

    #[test]
    fn a_listed_place_without_unsafe_code_is_a_finding() {
        let clean = "#![forbid(unsafe_code)]\n";
        assert_eq!(findings("a", "a/lib.rs", clean, "unsafe a/lib.rs").len(), 1);
        assert_eq!(findings("a", "a/lib.rs", clean, "unsafe gone.rs").len(), 1);
    }
}
