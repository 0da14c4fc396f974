//! `cargo xtask tidy`: the shape of the sources, held by a program instead of by reviewers.
//!
//! Each rule is one file of this folder and gives [`Finding`]s; a finding says where, what is
//! wrong, and what to do about it. What is too much today is listed in `xtask/tidy.allow` with
//! its present size, and may only shrink.

mod allowances;
mod arrows;
mod dead;
mod finding;
mod floors;
mod houses;
mod imports;
mod lengths;
mod safety;
mod style;
mod tree;
mod unused;
mod workspace;

use std::path::Path;

use allowances::Allowances;
use finding::Finding;
use tree::Tree;
use workspace::Workspace;

/// Where the exceptions are listed, from the root of the checkout.
const ALLOWANCES_PATH: &str = "xtask/tidy.allow";

/// Runs every rule over the checkout at `root`. With `--write`, allowances that have shrunk are
/// lowered in `xtask/tidy.allow` first; with `--arrows`, those that point up and the circles are
/// shown even where they are allowed.
///
/// # Errors
///
/// The findings as one message, or the reason why the sources could not be read.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let (mut write, mut show_arrows) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--write" => write = true,
            "--arrows" => show_arrows = true,
            _ => return Err("usage: cargo xtask tidy [--write] [--arrows]".into()),
        }
    }
    let tree = Tree::load(root)?;
    let workspace = Workspace::load(root, tree.manifests())?;
    let allowances_path = root.join(ALLOWANCES_PATH);
    let text = match std::fs::read_to_string(&allowances_path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", allowances_path.display())),
    };
    let (mut allowances, mut findings) = Allowances::parse(ALLOWANCES_PATH, &text);
    let mut figures = lengths::measure(&tree);
    figures.extend(unused::measure(&tree));
    for measured in floors::measure(&tree) {
        println!("tidy: {measured}");
        for figure in measured.figures() {
            if show_arrows && figure.count > 0 {
                println!("{}", figure.finding);
            }
            figures.push(figure);
        }
        findings.extend(measured.findings);
    }
    if write {
        let lowered = allowances.lowered(&figures);
        if lowered != text {
            std::fs::write(&allowances_path, &lowered)
                .map_err(|error| format!("{}: {error}", allowances_path.display()))?;
            allowances = Allowances::parse(ALLOWANCES_PATH, &lowered).0;
        }
    }
    findings.extend(allowances.check(&figures));
    findings.extend(check(&tree, &workspace, &allowances));
    report(findings, &tree)
}

/// Every finding of every rule.
fn check(tree: &Tree, workspace: &Workspace, allowances: &Allowances) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(tree.unreadable());
    findings.extend(arrows::check(workspace));
    findings.extend(dead::check(tree, workspace));
    findings.extend(safety::check(tree, workspace, allowances));
    findings.extend(style::check(tree, workspace));
    findings
}

fn report(mut findings: Vec<Finding>, tree: &Tree) -> Result<(), String> {
    if findings.is_empty() {
        println!("tidy: {} Rust files are in order", tree.files.len());
        return Ok(());
    }
    findings.sort();
    findings.dedup();
    let count = findings.len();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let noun = if count == 1 { "finding" } else { "findings" };
    Err(format!("tidy: {count} {noun}\n{}", lines.join("\n")))
}
