//! Locations: how a path finds its settings.

use std::collections::BTreeMap;

use crate::config::regex::{Groups, Pattern};
use crate::modules::Settings;
use crate::phase::{Handler, Step};
use crate::variable::GroupSlots;

/// The place of a location in [`Http::locations`](crate::config::Http::locations).
pub type LocationId = u32;

/// The place of a server in [`Http::servers`](crate::config::Http::servers).
pub type ServerId = u32;

/// One `location`, or the level of a server that holds where no location matches.
#[derive(Debug)]
pub struct Location {
    /// What stands after `location`, without the modifier; empty for a server's own level.
    pub name: String,
    /// Whether it was given by a regular expression, which changes how `alias` works.
    pub is_regex: bool,
    /// Whether it is `@name`.
    pub is_named: bool,
    /// The server that it belongs to.
    pub server: ServerId,
    /// What the modules were told here.
    pub settings: Settings,
    /// Who is asked here, in this order: known when the configuration is built, so that nobody is
    /// asked in vain.
    pub(crate) steps: Box<[Step]>,
    /// What responses pass here, in this order.
    pub(crate) header_filters: Box<[Handler]>,
    /// The named groups of its pattern, and the variables that they set.
    pub group_slots: GroupSlots,
    /// The locations inside it.
    pub inner: Lookup,
}

/// The locations of one level, ready to be asked.
///
/// Prefixes lie sorted, and each knows the longest other prefix that it begins with; so the
/// longest prefix of a path is found by one binary search and a few steps up.
#[derive(Debug, Default)]
pub struct Lookup {
    prefixes: Vec<PrefixEntry>,
    patterns: Vec<(Pattern, LocationId)>,
}

#[derive(Debug)]
struct PrefixEntry {
    path: Vec<u8>,
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

impl Lookup {
    fn find_static(&self, path: &[u8]) -> Option<Static> {
        let after = self
            .prefixes
            .partition_point(|entry| entry.path.as_slice() <= path);
        let mut at = after.checked_sub(1);
        while let Some(index) = at {
            let entry = &self.prefixes[index];
            if path.starts_with(&entry.path) {
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
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.patterns.is_empty()
    }
}

/// Finds the location of a path below `start`, nginx's way: an exact match ends the search, the
/// longest prefix is remembered and searched inside, then the regular expressions are tried in
/// the order of the file, unless the prefix said `^~`.
///
/// `groups` receives the captures of the expression that won, if one did; the answer tells
/// whether one did.
pub fn find(
    locations: &[Location],
    start: LocationId,
    path: &[u8],
    groups: &mut Groups,
) -> (LocationId, Option<LocationId>) {
    let mut current = start;
    let mut captured = None;
    find_below(locations, &mut current, path, groups, &mut captured);
    (current, captured)
}

/// The answer says whether the search is over.
fn find_below(
    locations: &[Location],
    current: &mut LocationId,
    path: &[u8],
    groups: &mut Groups,
    captured: &mut Option<LocationId>,
) -> bool {
    let lookup = &locations[*current as usize].inner;
    let mut regex_follows = true;
    if let Some(found) = lookup.find_static(path) {
        *current = found.id;
        if found.exact {
            return true;
        }
        regex_follows = found.regex_follows;
        let is_leaf = locations[found.id as usize].inner.is_empty();
        if !is_leaf && find_below(locations, current, path, groups, captured) {
            return true;
        }
    }
    if !regex_follows {
        return false;
    }
    for (pattern, id) in &lookup.patterns {
        if pattern.captures(path, groups) {
            *current = *id;
            *captured = Some(*id);
            find_below(locations, current, path, groups, captured);
            return true;
        }
    }
    false
}
