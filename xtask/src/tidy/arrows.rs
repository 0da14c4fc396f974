//! Arrows point down only: nothing below knows anything above.

use super::finding::Finding;
use super::workspace::{Package, Workspace};

/// Each package and the packages of ours that it may be built on, from the bottom up. A new
/// package gets its row here, so that its place is a decision and not an accident.
const ARROWS: &[(&str, &[&str])] = &[
    ("revolve-reactor", &[]),
    ("revolve-http", &[]),
    ("revolve-conf", &[]),
    ("revolve-shm", &[]),
    ("revolve-tls", &["revolve-reactor"]),
    (
        "revolve-server",
        &[
            "revolve-reactor",
            "revolve-http",
            "revolve-conf",
            "revolve-shm",
            "revolve-tls",
        ],
    ),
    (
        "revolve",
        &["revolve-server", "revolve-reactor", "revolve-conf"],
    ),
    ("revolve-hyper", &["revolve-reactor"]),
    ("revolve-message", &["revolve-reactor"]),
    (
        "revolve-tests",
        &[
            "revolve",
            "revolve-server",
            "revolve-reactor",
            "revolve-conf",
        ],
    ),
    (
        "revolve-fuzz",
        &[
            "revolve-server",
            "revolve-http",
            "revolve-conf",
            "revolve-reactor",
            "revolve-tls",
        ],
    ),
    ("xtask", &[]),
];

/// The protocol crate is a state machine: it may not be built on what does I/O.
const NO_IO: &str = "revolve-http";
const IO_PACKAGES: &[&str] = &[
    "rustix", "socket2", "nix", "libc", "tokio", "mio", "polling",
];

/// Dependencies that point up, or sideways. What only tests need is not looked at.
pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        match ARROWS.iter().find(|(name, _)| *name == package.name) {
            None => findings.push(Finding::new(
                &package.manifest,
                1,
                format!(
                    "the package `{}` has no place among the arrows",
                    package.name
                ),
                "give it a row in ARROWS of xtask/src/tidy/arrows.rs",
            )),
            Some((_, allowed)) => findings.extend(arrows_of(workspace, package, allowed)),
        }
    }
    findings
}

fn arrows_of<'a>(
    workspace: &'a Workspace,
    package: &'a Package,
    allowed: &'a [&str],
) -> impl Iterator<Item = Finding> + 'a {
    package.dependencies.iter().filter_map(move |dependency| {
        let ours = workspace
            .packages
            .iter()
            .any(|other| other.name == *dependency);
        if ours && !allowed.contains(&dependency.as_str()) {
            return Some(Finding::new(
                &package.manifest,
                1,
                format!(
                    "`{}` depends on `{dependency}`: this arrow points up",
                    package.name
                ),
                "move what is needed down, or hand it in from above as an argument or a trait",
            ));
        }
        if package.name == NO_IO && IO_PACKAGES.contains(&dependency.as_str()) {
            return Some(Finding::new(
                &package.manifest,
                1,
                format!("`{NO_IO}` depends on `{dependency}`, which does I/O"),
                "keep the protocol pure: bytes in, events out; I/O belongs to revolve-server",
            ));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            manifest: format!("{name}/Cargo.toml"),
            targets: Vec::new(),
            dependencies: dependencies.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn findings(packages: Vec<Package>) -> Vec<Finding> {
        check(&Workspace { packages })
    }

    #[test]
    fn down_is_allowed() {
        let packages = vec![
            package("revolve-reactor", &["slab"]),
            package("revolve-http", &["memchr"]),
            package("revolve-conf", &[]),
            package(
                "revolve-server",
                &["revolve-reactor", "revolve-http", "revolve-conf"],
            ),
            package("revolve", &["revolve-server", "revolve-conf"]),
            package("xtask", &["syn"]),
        ];
        assert_eq!(findings(packages), []);
    }

    #[test]
    fn up_and_sideways_are_not() {
        let up = vec![
            package("revolve-reactor", &["revolve-http"]),
            package("revolve-http", &[]),
        ];
        let found = findings(up);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .problem
                .contains("`revolve-reactor` depends on `revolve-http`")
        );
        let skip = vec![
            package("revolve", &["revolve-http"]),
            package("revolve-http", &[]),
        ];
        assert_eq!(findings(skip).len(), 1);
    }

    #[test]
    fn the_protocol_crate_does_no_io() {
        assert_eq!(
            findings(vec![package("revolve-http", &["rustix"])]).len(),
            1
        );
    }

    #[test]
    fn a_new_package_must_be_placed() {
        assert_eq!(findings(vec![package("revolve-new", &[])]).len(), 1);
    }
}
