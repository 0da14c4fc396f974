//! `cargo xtask sanitize`: the tests of the crates with unsafe code under AddressSanitizer.
//!
//! Every read and write of the program is checked against what is allocated, and what is left at
//! the end of a test program is a leak. The kernel's own writes are not seen: that memory lent to
//! it comes back is shown by bytes in the tests, and by the checks of whoever uses it next.

use std::path::Path;
use std::process::{Command, Stdio};

/// The crates that have unsafe code, and what is left out of them by default.
const CRATES: [&str; 2] = ["revolve-reactor", "revolve-shm"];
const FEATURES: &str = "revolve-reactor/futures-io";

/// Nothing may be left at a program's end, nor a stack be used by who has returned.
const ASAN_OPTIONS: &str = "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1";

/// Seeds of each simulated scenario: checked programs are several times slower.
const SEEDS: &str = "200";

const USAGE: &str = "\
usage: cargo xtask sanitize [filter...]

Runs the tests of the crates with unsafe code under AddressSanitizer (and its LeakSanitizer), on
every driver: some five minutes on two cores. Needs a nightly toolchain: rustup toolchain install nightly --profile minimal
REVOLVE_TOOLCHAIN names another toolchain, REVOLVE_SEEDS another number of seeds (200).
";

pub(crate) fn run(root: &Path, filters: &[String]) -> Result<(), String> {
    if filters.iter().any(|filter| filter.starts_with('-')) {
        print!("{USAGE}");
        return Ok(());
    }
    let toolchain = variable("REVOLVE_TOOLCHAIN", "nightly");
    let host = host(&toolchain)?;
    // The tests start the examples as programs.
    cargo(root, &toolchain, &host, &["build", "--examples"], &[])?;
    cargo(
        root,
        &toolchain,
        &host,
        &["test", "--tests", "--no-fail-fast"],
        filters,
    )
}

/// Runs cargo with every access checked.
fn cargo(
    root: &Path,
    toolchain: &str,
    host: &str,
    task: &[&str],
    filters: &[String],
) -> Result<(), String> {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", toolchain, "cargo"]).args(task);
    // A target of its own keeps the flags away from build scripts and from the usual build.
    cargo.args(["--target", host, "--features", FEATURES]);
    for name in CRATES {
        cargo.args(["-p", name]);
    }
    if !filters.is_empty() {
        cargo.arg("--").args(filters);
    }
    cargo.current_dir(root);
    // The cargo that runs this program has named its own toolchain to its children.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo.env("RUSTFLAGS", "-Zsanitizer=address -Cdebuginfo=1");
    cargo.env("ASAN_OPTIONS", ASAN_OPTIONS);
    cargo.env("REVOLVE_SEEDS", variable("REVOLVE_SEEDS", SEEDS));
    let status = cargo
        .status()
        .map_err(|error| format!("rustup cannot be run: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err("the tests are not clean under AddressSanitizer".to_owned())
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The system that a toolchain compiles for by itself.
fn host(toolchain: &str) -> Result<String, String> {
    let missing = || {
        format!(
            "no toolchain `{toolchain}`: rustup toolchain install {toolchain} --profile minimal"
        )
    };
    let mut rustc = Command::new("rustup");
    rustc.args(["run", toolchain, "rustc", "-vV"]);
    let output = rustc.stderr(Stdio::null()).output();
    let output = output.map_err(|error| format!("rustup cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(missing)
}
