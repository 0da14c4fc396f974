//! Shell patterns, as glob(3) and fnmatch(3) read them in the C locale.
//!
//! `*`, `?`, `[a-z]`, `[!a-z]`, `[^a-z]` and a backslash that quotes. A dot at the start of a name
//! is matched by a dot alone. Character classes (`[[:alpha:]]`) are not known.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether `pattern` is one: nginx takes a name without these characters for a plain path.
pub(crate) fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"*?[".contains(byte))
}

/// The existing paths that match `pattern`, sorted by their bytes. Folders that cannot be listed
/// are passed over, as by glob(3) without `GLOB_ERR`.
pub(crate) fn expand(pattern: &str) -> Vec<PathBuf> {
    let start = if pattern.starts_with('/') {
        PathBuf::from("/")
    } else {
        PathBuf::new()
    };
    let mut found = vec![start];
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        found = found
            .iter()
            .flat_map(|folder| step(folder, component.as_bytes()))
            .collect();
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found
}

/// What `component` matches in `folder`.
fn step(folder: &Path, component: &[u8]) -> Vec<PathBuf> {
    if !is_pattern(component) {
        let path = folder.join(OsStr::from_bytes(&unquoted(component)));
        return if path.symlink_metadata().is_ok() {
            vec![path]
        } else {
            Vec::new()
        };
    }
    let listed = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let Ok(entries) = std::fs::read_dir(listed) else {
        return Vec::new();
    };
    let names = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name());
    names
        .filter(|name| name_matches(component, name.as_bytes()))
        .map(|name| folder.join(name))
        .collect()
}

fn unquoted(component: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(component.len());
    let mut bytes = component.iter();
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'\\' {
            bytes.next().copied().unwrap_or(byte)
        } else {
            byte
        });
    }
    out
}

/// Whether a file's name matches one component of a pattern.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") && !pattern.starts_with(b"\\.") {
        return false;
    }
    let (mut pattern, mut name) = (pattern, name);
    // Where the last `*` stood, and what of the name it has not taken yet: only the last star
    // has ever to be tried again, so the cost is at most the product of the lengths.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((rest, name));
            continue;
        }
        match (one(pattern, name.first().copied()), name) {
            (Some(rest), [_, name_rest @ ..]) => (pattern, name) = (rest, name_rest),
            _ if pattern.is_empty() && name.is_empty() => return true,
            _ => {
                let Some((after_star, [_, taken @ ..])) = retry else {
                    return false;
                };
                (pattern, name) = (after_star, taken);
                retry = Some((after_star, taken));
            }
        }
    }
}

/// What of the pattern is left after matching `byte`, if it does.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((is_member, after)) => is_member.then_some(after),
            // A bracket that is never closed is an ordinary character.
            None => (byte == b'[').then_some(rest),
        },
        [b'\\', quoted, rest @ ..] => (*quoted == byte).then_some(rest),
        [first, rest @ ..] => (*first == byte).then_some(rest),
        [] => None,
    }
}

/// Whether `byte` is of the set that follows a `[`, and what stands after its `]`.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_member = false;
    let mut is_first = true;
    loop {
        let (low, after) = match rest {
            [b']', after @ ..] if !is_first => return Some((is_member != negated, after)),
            [b'\\', quoted, after @ ..] => (*quoted, after),
            [first, after @ ..] => (*first, after),
            [] => return None,
        };
        (is_first, rest) = (false, after);
        let mut high = low;
        if let [b'-', last, after @ ..] = rest
            && *last != b']'
        {
            (high, rest) = (*last, after);
        }
        is_member |= (low..=high).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_fnmatch_says() {
        let matches = |pattern: &str, name: &str| name_matches(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*", "a"),
            ("*.conf", "a.b.conf"),
            ("**a*b", "xaxxb"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[^a-c]x", "dx"),
            ("[]x]", "]"),
            ("[a-]", "-"),
            ("[\\]]", "]"),
            ("[", "["),
            ("a[b", "a[b"),
            (".*", ".x"),
            ("\\*", "*"),
            ("x*", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", ".hidden"),
            ("?x", ".x"),
            ("[.]x", ".x"),
            ("*.conf", "a.conf~"),
            ("a?c", "ac"),
            ("[a-c]", "d"),
            ("[!a]", "a"),
            ("\\*", "x"),
            ("", "x"),
            ("x", ""),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_cost_little() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!name_matches(
            pattern.as_bytes(),
            "a".repeat(255).as_bytes()
        ));
    }

    #[test]
    fn paths_are_found_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt", "x[1].conf"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir_all(folder.path().join("sub/deep")).unwrap();
        std::fs::write(folder.path().join("sub/deep/e.conf"), "").unwrap();
        let names = |pattern: &str| {
            let paths = expand(&format!("{}/{pattern}", folder.path().display()));
            let names = paths
                .iter()
                .map(|path| path.strip_prefix(folder.path()).unwrap());
            names
                .map(|name| name.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("*.conf"), "a.conf b.conf x[1].conf");
        assert_eq!(names("**/*.conf"), "");
        assert_eq!(names("*/*/*.conf"), "sub/deep/e.conf");
        assert_eq!(names("sub/d*/./e.conf"), "sub/deep/./e.conf");
        assert_eq!(names("*//deep/e.co[mn]f"), "sub/deep/e.conf");
        assert_eq!(names(".*.conf"), ".hidden.conf");
        assert_eq!(names(r"x\[1].*"), "x[1].conf");
        assert_eq!(names("*/nothing"), "");
        assert_eq!(names("c.txt/*"), "");
    }
}
