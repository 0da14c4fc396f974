//! What a loop is the home of: who has which name, and who is in which room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::hall::Seat;

#[derive(Default)]
pub(crate) struct Registry {
    names: HashMap<Arc<str>, Seat>,
    rooms: HashMap<Arc<str>, Room>,
}

/// A room exists while it has members.
#[derive(Default)]
struct Room {
    /// Of the last message.
    number: u64,
    members: HashMap<Seat, Arc<str>>,
    /// How many members sit on which loop.
    on_loops: BTreeMap<usize, u32>,
}

/// A message on its way from a room's home.
pub(crate) struct Outgoing {
    pub(crate) room: Arc<str>,
    pub(crate) number: u64,
    /// The loops that have members.
    pub(crate) loops: Vec<usize>,
}

impl Registry {
    /// Gives a name to a client, unless another has it.
    pub(crate) fn claim(&mut self, name: &Arc<str>, seat: Seat) -> bool {
        *self.names.entry(Arc::clone(name)).or_insert(seat) == seat
    }

    /// Takes a name from a client, if it has it.
    pub(crate) fn release(&mut self, name: &str, seat: Seat) {
        if self.names.get(name) == Some(&seat) {
            self.names.remove(name);
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Seat> {
        self.names.get(name).copied()
    }

    /// Adds a member, and says how many there are.
    pub(crate) fn join(&mut self, room: &Arc<str>, seat: Seat, name: Arc<str>) -> u32 {
        let room = self.rooms.entry(Arc::clone(room)).or_default();
        if room.members.insert(seat, name).is_none() {
            *room.on_loops.entry(seat.reactor).or_default() += 1;
        }
        u32::try_from(room.members.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn leave(&mut self, name: &str, seat: Seat) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.members.remove(&seat).is_some()
            && let Some(count) = room.on_loops.get_mut(&seat.reactor)
        {
            *count -= 1;
            if *count == 0 {
                room.on_loops.remove(&seat.reactor);
            }
        }
        if room.members.is_empty() {
            self.rooms.remove(name);
        }
    }

    /// The names of a room's members, in order.
    pub(crate) fn members(&self, room: &str) -> Vec<Arc<str>> {
        let room = self.rooms.get(room);
        let names = room.into_iter().flat_map(|room| room.members.values());
        let mut names: Vec<Arc<str>> = names.cloned().collect();
        names.sort_unstable();
        names
    }

    /// Numbers the next message of a room; `None` if the room is empty.
    pub(crate) fn say(&mut self, name: &str) -> Option<Outgoing> {
        let (room, number, loops) = {
            let (name, room) = (
                self.rooms.get_key_value(name)?.0.clone(),
                self.rooms.get_mut(name)?,
            );
            room.number += 1;
            (name, room.number, room.on_loops.keys().copied().collect())
        };
        Some(Outgoing {
            room,
            number,
            loops,
        })
    }
}
