//! Packages, their targets and what they depend on, as cargo itself sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::tree::relative;

/// One root file of a library, program, example, test or bench.
pub(super) struct Target {
    /// Cargo's word: `lib`, `bin`, `example`, `test`, `bench`, `custom-build`.
    pub(super) kind: String,
    /// From the root of the checkout.
    pub(super) path: String,
}

/// One package.
pub(super) struct Package {
    pub(super) name: String,
    /// Its manifest, from the root of the checkout.
    pub(super) manifest: String,
    pub(super) targets: Vec<Target>,
    /// Names of the packages that it needs to be built (not those that only its tests need).
    pub(super) dependencies: Vec<String>,
}

/// Every package of the checkout, those outside of the main workspace (`fuzz`) too.
#[derive(Default)]
pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
}

impl Workspace {
    /// Asks `cargo metadata`, once for the workspace and once for each of `manifests` that is
    /// not part of it.
    pub(super) fn load(root: &Path, manifests: &[PathBuf]) -> Result<Self, String> {
        let mut workspace = Self::default();
        workspace.add(root, &root.join("Cargo.toml"))?;
        for manifest in manifests {
            let path = relative(root, manifest);
            let known = workspace
                .packages
                .iter()
                .any(|package| package.manifest == path);
            if !known && path != "Cargo.toml" {
                workspace.add(root, manifest)?;
            }
        }
        Ok(workspace)
    }

    fn add(&mut self, root: &Path, manifest: &Path) -> Result<(), String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--no-deps",
                "--format-version=1",
                "--offline",
                "--manifest-path",
            ])
            .arg(manifest)
            .output()
            .map_err(|error| format!("cargo metadata cannot be run: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "cargo metadata failed on {}:\n{said}",
                manifest.display()
            ));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata gave no JSON: {error}"))?;
        self.packages.extend(
            list(&metadata, "packages")
                .iter()
                .map(|value| package(root, value)),
        );
        Ok(())
    }
}

fn package(root: &Path, value: &Value) -> Package {
    let manifest = PathBuf::from(text(value, "manifest_path"));
    let needed = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
    Package {
        name: text(value, "name"),
        manifest: relative(root, &manifest),
        targets: list(value, "targets")
            .iter()
            .map(|target| self::target(root, target))
            .collect(),
        dependencies: list(value, "dependencies")
            .iter()
            .filter(needed)
            .map(|dependency| text(dependency, "name"))
            .collect(),
    }
}

fn target(root: &Path, value: &Value) -> Target {
    let kind = list(value, "kind")
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default();
    Target {
        kind: kind.into(),
        path: relative(root, Path::new(&text(value, "src_path"))),
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().into()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_cargos_metadata() {
        let json = r#"{"packages": [{
            "name": "revolve-x", "manifest_path": "/r/crates/x/Cargo.toml",
            "targets": [{"kind": ["lib"], "src_path": "/r/crates/x/src/lib.rs"}],
            "dependencies": [{"name": "slab", "kind": null}, {"name": "tempfile", "kind": "dev"},
                             {"name": "cc", "kind": "build"}]
        }]}"#;
        let metadata: Value = serde_json::from_str(json).unwrap();
        let package = package(Path::new("/r"), &metadata["packages"][0]);
        assert_eq!(package.name, "revolve-x");
        assert_eq!(package.manifest, "crates/x/Cargo.toml");
        assert_eq!(package.targets[0].path, "crates/x/src/lib.rs");
        assert_eq!(package.targets[0].kind, "lib");
        assert_eq!(package.dependencies, ["slab", "cc"]);
    }
}
