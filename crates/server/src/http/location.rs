//! Locations: how a path finds its settings.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use revolve_http::Method;

use crate::config::regex::{Groups, Pattern};
use crate::config::variable::GroupSlots;
use crate::http::modules::Settings;
use crate::http::phase::{Handler, Steps};

/// The place of a location in [`Http::locations`](crate::http::Http::locations).
pub(crate) type LocationId = u32;

/// The place of a server in [`Http::servers`](crate::http::Http::servers).
pub(crate) type ServerId = u32;

/// Methods that a `limit_except` lets be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Methods(u32);

impl Methods {
    /// Adds one.
    pub(crate) fn insert(&mut self, method: Method) {
        self.0 |= 1 << method as u32;
    }

    /// Whether one is among them.
    pub(crate) fn contains(self, method: Method) -> bool {
        self.0 & 1 << method as u32 != 0
    }
}

/// One `location`, or the level of a server that holds where no location matches.
#[derive(Debug)]
pub(crate) struct Location {
    /// What stands after `location`, without the modifier; empty for a server's own level.
    pub name: String,
    /// What the modules were told here.
    pub settings: Settings,
    /// Who is asked here.
    pub(crate) steps: Steps,
    /// What responses pass here, in this order.
    pub(crate) header_filters: Box<[Handler]>,
    /// The named groups of its pattern, and the variables that they set.
    pub group_slots: GroupSlots,
    /// The locations inside it.
    pub inner: Lookup,
    /// What holds instead for other methods than these.
    pub(crate) limit_except: Option<(Methods, LocationId)>,
}

/// The locations of one level, ready to be asked.
///
/// Prefixes lie sorted, and each knows the longest other prefix that it begins with; so the
/// longest prefix of a path is found by one binary search and a few steps up.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    prefixes: Vec<PrefixEntry>,
    patterns: Vec<(Pattern, LocationId)>,
}

#[derive(Debug)]
struct PrefixEntry {
    path: Vec<u8>,
    /// Its [`start_of`].
    start: u64,
    exact: Option<LocationId>,
    prefix: Option<LocationId>,
    regex_follows: bool,
    /// The longest shorter entry that this path begins with.
    parent: Option<u32>,
}

/// A static match: the location, and whether the search ends there.
struct Static {
    id: LocationId,
    exact: bool,
    regex_follows: bool,
}

/// Who stands at one path: `= path`, and `path` with whether regular expressions follow it.
#[derive(Debug, Default)]
struct Claims {
    exact: Option<LocationId>,
    prefix: Option<(LocationId, bool)>,
}

/// Collects the locations of a level.
#[derive(Debug, Default)]
pub(crate) struct LookupBuilder {
    prefixes: BTreeMap<Vec<u8>, Claims>,
    patterns: Vec<(Pattern, LocationId)>,
}

impl LookupBuilder {
    /// Adds `location = path`; false if it is there already.
    pub(crate) fn exact(&mut self, path: &str, id: LocationId) -> bool {
        let entry = self.prefixes.entry(path.as_bytes().to_vec()).or_default();
        entry.exact.replace(id).is_none()
    }

    /// Adds `location path`; false if it is there already.
    pub(crate) fn prefix(&mut self, path: &str, regex_follows: bool, id: LocationId) -> bool {
        let entry = self.prefixes.entry(path.as_bytes().to_vec()).or_default();
        entry.prefix.replace((id, regex_follows)).is_none()
    }

    /// Adds `location ~ pattern`; patterns are tried in the order of the file.
    pub(crate) fn pattern(&mut self, pattern: Pattern, id: LocationId) {
        self.patterns.push((pattern, id));
    }

    pub(crate) fn build(self) -> Lookup {
        let mut prefixes: Vec<PrefixEntry> = Vec::with_capacity(self.prefixes.len());
        for (path, Claims { exact, prefix }) in self.prefixes {
            // The map is sorted, so a beginning of this path stands before it: start at the
            // neighbour and go up until one fits.
            let mut parent = prefixes.len().checked_sub(1).map(|index| index as u32);
            while let Some(index) = parent {
                if path.starts_with(&prefixes[index as usize].path) {
                    break;
                }
                parent = prefixes[index as usize].parent;
            }
            prefixes.push(PrefixEntry {
                start: start_of(&path),
                path,
                exact,
                prefix: prefix.map(|(id, _)| id),
                regex_follows: prefix.is_none_or(|(_, follows)| follows),
                parent,
            });
        }
        Lookup {
            prefixes,
            patterns: self.patterns,
        }
    }
}

/// The first eight bytes of a path as a number: two paths are in the order of these numbers, where
/// they differ, so that most comparisons are one.
#[inline]
fn start_of(path: &[u8]) -> u64 {
    let mut padded = [0; 8];
    let start = match path.first_chunk::<8>() {
        Some(start) => start,
        None => {
            padded[..path.len()].copy_from_slice(path);
            &padded
        }
    };
    u64::from_be_bytes(*start)
}

impl PrefixEntry {
    /// Whether it stands where a path, which begins with `start`, would, or before.
    #[inline]
    fn is_at_most(&self, path: &[u8], start: u64) -> bool {
        match self.start.cmp(&start) {
            Ordering::Less => true,
            Ordering::Greater => false,
            // No path has a NUL, so that this one is all that both begin with.
            Ordering::Equal if self.path.len() <= 8 => self.path.len() <= path.len(),
            Ordering::Equal => self.path.as_slice() <= path,
        }
    }

    /// Whether a path, which begins with `start`, begins with this one.
    #[inline]
    fn begins(&self, path: &[u8], start: u64) -> bool {
        let own_len = self.path.len();
        let bits_after = 64 - 8 * own_len.min(8) as u32;
        let differs = (start ^ self.start).checked_shr(bits_after).unwrap_or(0) != 0;
        !differs && path.len() >= own_len && (own_len <= 8 || path.starts_with(&self.path))
    }
}

impl Lookup {
    fn find_static(&self, path: &[u8]) -> Option<Static> {
        if self.prefixes.is_empty() {
            return None;
        }
        let start = start_of(path);
        let after = self
            .prefixes
            .partition_point(|entry| entry.is_at_most(path, start));
        let mut at = after.checked_sub(1);
        while let Some(index) = at {
            let entry = &self.prefixes[index];
            if entry.begins(path, start) {
                if let (Some(id), true) = (entry.exact, entry.path.len() == path.len()) {
                    return Some(Static {
                        id,
                        exact: true,
                        regex_follows: false,
                    });
                }
                if let Some(id) = entry.prefix {
                    let regex_follows = entry.regex_follows;
                    return Some(Static {
                        id,
                        exact: false,
                        regex_follows,
                    });
                }
            }
            at = entry.parent.map(|index| index as usize);
        }
        None
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.patterns.is_empty()
    }
}

/// Finds the location of a path below `start`, nginx's way: an exact match ends the search, the
/// longest prefix is remembered and searched inside, then the regular expressions are tried in
/// the order of the file, unless the prefix said `^~`.
///
/// `groups` receives the captures of the expression that won, if one did; the answer tells
/// whether one did.
///
/// Errors: the location whose expression was given up.
pub(crate) fn find(
    locations: &[Location],
    start: LocationId,
    path: &[u8],
    groups: &mut Groups,
) -> Result<(LocationId, Option<LocationId>), LocationId> {
    let mut current = start;
    let mut captured = None;
    find_below(locations, &mut current, path, groups, &mut captured)?;
    Ok((current, captured))
}

/// The answer says whether the search is over.
fn find_below(
    locations: &[Location],
    current: &mut LocationId,
    path: &[u8],
    groups: &mut Groups,
    captured: &mut Option<LocationId>,
) -> Result<bool, LocationId> {
    let lookup = &locations[*current as usize].inner;
    let mut regex_follows = true;
    if let Some(found) = lookup.find_static(path) {
        *current = found.id;
        if found.exact {
            return Ok(true);
        }
        regex_follows = found.regex_follows;
        let is_leaf = locations[found.id as usize].inner.is_empty();
        if !is_leaf && find_below(locations, current, path, groups, captured)? {
            return Ok(true);
        }
    }
    if !regex_follows {
        return Ok(false);
    }
    for (pattern, id) in &lookup.patterns {
        if pattern.captures(path, groups).map_err(|_| *id)? {
            *current = *id;
            *captured = Some(*id);
            find_below(locations, current, path, groups, captured)?;
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lookup: &Lookup, path: &str) -> Option<(LocationId, bool)> {
        let found = lookup.find_static(path.as_bytes());
        found.map(|found| (found.id, found.exact))
    }

    /// Every path is asked for among all of them, and compared with a search of the list.
    #[test]
    fn the_longest_prefix_is_found_wherever_paths_begin_to_differ() {
        let paths = [
            "",
            "/",
            "/a",
            "/a/",
            "/ab",
            "/abcdefg",
            "/abcdefgh",
            "/abcdefghi",
            "/abcdefgh/i",
            "/abcdefh",
            "/b",
            "/\u{ff}",
            "/b/abcdefghijklmnop",
            "/b/abcdefghijklmnoq",
            "b",
        ];
        for chosen in 0..1u32 << paths.len().min(9) {
            let places = (0..paths.len()).filter(|at| chosen >> (at % 9) & 1 == 1);
            let places: Vec<usize> = places.collect();
            let mut builder = LookupBuilder::default();
            for place in &places {
                builder.prefix(paths[*place], true, *place as LocationId);
            }
            let lookup = builder.build();
            for path in paths
                .iter()
                .flat_map(|path| [path.to_string(), format!("{path}x")])
            {
                let fitting = places
                    .iter()
                    .filter(|place| path.starts_with(paths[**place]));
                let longest = fitting.max_by_key(|place| paths[**place].len());
                let expected = longest.map(|place| (*place as LocationId, false));
                assert_eq!(found(&lookup, &path), expected, "{path} among {places:?}");
            }
        }
    }

    #[test]
    fn an_exact_path_goes_before_a_prefix() {
        let mut builder = LookupBuilder::default();
        assert!(builder.prefix("/pid", true, 1));
        assert!(builder.exact("/pid", 2));
        assert!(builder.exact("/pid/of/the/master", 3));
        assert!(!builder.exact("/pid", 2));
        let lookup = builder.build();
        assert_eq!(found(&lookup, "/pid"), Some((2, true)));
        assert_eq!(found(&lookup, "/pid/"), Some((1, false)));
        assert_eq!(found(&lookup, "/pid/of/the/master"), Some((3, true)));
        assert_eq!(found(&lookup, "/pid/of/the/masters"), Some((1, false)));
        assert_eq!(found(&lookup, "/pi"), None);
    }
}
