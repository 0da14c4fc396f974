//! State that all workers share: zones, named by the configuration and made by the master.
//!
//! A zone is a memory file (see `revolve-shm`). The master makes it and hands its descriptor to each
//! worker; so it lives through reloads and through the death of any worker. Three zones are there
//! without being named: the counts of the workers and of their loops, and their secrets.

mod counts;
mod key;
mod kind;
mod secrets;
mod spec;

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use revolve_shm::Counters;

use self::counts::CountsZone;

pub(crate) use self::counts::{LoopCounts, Seat, Taker, Totals};
pub(crate) use self::key::{Key, key_of};
pub use self::kind::{ZoneKind, ZoneLabel, ZoneSpec, ZoneState};
pub(crate) use self::secrets::{Secret, SharedSecrets};
pub(crate) use self::spec::{Declared, ZoneId, columns_for, name_and_size, zone_bytes};

/// The zones of a configuration, open. Any thread may use them.
#[derive(Debug, Default)]
pub struct Zones {
    zones: Vec<Zone>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Zone {
    label: ZoneLabel,
    state: Box<dyn ZoneState>,
}

impl Zones {
    /// Opens the zones of `specs`: those that are among `given` with the same kind, name and size,
    /// the others made anew.
    ///
    /// Errors, in nginx's words: a zone that is kept would hold states by another key than
    /// before; memory that cannot be had.
    pub fn open(specs: &[ZoneSpec], given: Vec<(ZoneLabel, OwnedFd)>) -> Result<Zones, String> {
        let mut given: Vec<_> = given.into_iter().map(Some).collect();
        let mut zones = Vec::with_capacity(specs.len());
        let mut notes = Vec::new();
        for spec in specs {
            let label = spec.label();
            let is_same = |(old, _): &(ZoneLabel, OwnedFd)| old.is_of(&label);
            let found = given
                .iter_mut()
                .find(|entry| entry.as_ref().is_some_and(is_same));
            let kept = match found.and_then(Option::take) {
                Some(old) => keep(spec, &label, old, &mut notes)?,
                None => None,
            };
            if let Some(kept) = kept {
                zones.push(kept);
                continue;
            }
            let state = spec.kind.create(spec).map_err(|error| {
                let name = &label.name;
                format!("making the shared memory zone \"{name}\" failed: {error}")
            })?;
            zones.push(Zone { label, state });
        }
        Ok(Zones { zones, notes })
    }

    /// What there is to say of how they were opened: which could not be kept, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Descriptors of all zones, to be given to [`Zones::open`] in this process or another.
    pub fn descriptors(&self) -> impl Iterator<Item = (&ZoneLabel, BorrowedFd<'_>)> {
        self.zones
            .iter()
            .map(|zone| (&zone.label, zone.state.descriptor()))
    }

    /// Takes back what workers held that have died: connections that they had, and what those
    /// counted for in limits. To be called by whoever sees a worker's end. Reads `/proc`.
    pub fn take_back_from_dead(&self) {
        while let Some(slot) = self.worker_counts().claim_dead() {
            self.take_back(slot.number());
            counts::settle_worker(&slot);
        }
        while let Some(slot) = self.loop_counts().claim_dead() {
            counts::settle_loop(&slot);
        }
    }

    /// Takes back what one worker counts for in limits.
    fn take_back(&self, worker: usize) {
        for zone in &self.zones {
            zone.state.take_back(worker);
        }
    }

    /// What is kept in a zone, by whoever keeps it.
    pub(crate) fn state<S: ZoneState>(&self, id: ZoneId) -> &S {
        let state: &dyn Any = &*id.of(&self.zones).state;
        state
            .downcast_ref()
            .expect("a zone is of the kind that its configuration says")
    }

    /// The name of a zone.
    pub(crate) fn name(&self, id: ZoneId) -> &str {
        &id.of(&self.zones).label.name
    }

    /// Secrets that all workers share.
    pub(crate) fn secrets(&self) -> &SharedSecrets {
        self.state::<SharedSecrets>(spec::SECRETS)
    }

    fn worker_counts(&self) -> &Arc<Counters> {
        &self.state::<CountsZone>(spec::WORKER_COUNTS).0
    }

    fn loop_counts(&self) -> &Arc<Counters> {
        &self.state::<CountsZone>(spec::LOOP_COUNTS).0
    }
}

/// Opens a zone that was there before; nothing where it is to be made anew.
fn keep(
    spec: &ZoneSpec,
    label: &ZoneLabel,
    (old, file): (ZoneLabel, OwnedFd),
    notes: &mut Vec<String>,
) -> Result<Option<Zone>, String> {
    let name = &label.name;
    let mut anew = |why: String| {
        notes.push(format!(
            "the shared memory zone \"{name}\" is made anew: {why}"
        ));
        Ok(None)
    };
    if old.bytes != label.bytes {
        let (before, now) = (old.bytes, label.bytes);
        return anew(format!("its size was {before} and is {now}"));
    }
    if old.layout < label.layout {
        return anew("it was laid out for fewer workers".into());
    }
    if old.key != label.key {
        let (kind, before, now) = (&label.kind, &old.key, &label.key);
        // nginx calls the second by the directive that uses the zone.
        let kind = if kind == "limit_req_zone" {
            "limit_req"
        } else {
            kind
        };
        return Err(format!(
            "{kind} \"{name}\" uses the \"{now}\" key while previously it used the \"{before}\" key"
        ));
    }
    match spec.kind.open(file, old.layout) {
        Ok(state) => Ok(Some(Zone { label: old, state })),
        Err(error) => anew(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn no_specs() -> Vec<ZoneSpec> {
        Declared::default().finish(1, &mut revolve_conf::Diagnostics::default())
    }

    /// Row, name and load of those that take connections.
    fn takers(seat: &Seat) -> Vec<(usize, u64, u64)> {
        let takers = seat.takers();
        takers.map(|it| (it.row, it.name, it.load)).collect()
    }

    #[test]
    fn totals_are_over_all_rows() {
        let zones = Zones::open(&no_specs(), Vec::new()).unwrap();
        let seats = [(); 2].map(|()| Seat::take(&zones).unwrap());
        let loops = [(); 3].map(|()| std::rc::Rc::new(LoopCounts::take(&zones).unwrap()));
        assert_eq!((seats[0].number(), seats[1].number()), (0, 1));
        for seat in &seats {
            (0..3).for_each(|_| seat.note_accepted());
            (0..2).for_each(|_| seat.note_handled());
        }
        seats[0].note_left();
        loops.iter().for_each(|counts| counts.note_request());
        let (asking, other) = (Cell::new(false), Cell::new(false));
        loops[1].begin_busy(&other);
        loops[1].begin_busy(&other);
        let reading = loops[1].reading();
        let totals = Totals::of(&zones, &asking);
        let expected = Totals {
            accepts: 6,
            handled: 4,
            requests: 3,
            active: 5,
            reading: 1,
            writing: 1,
            waiting: 3,
        };
        assert_eq!(totals, expected);
        drop(reading);
        loops[1].end_busy(&other);
        loops[1].end_busy(&other);
        loops[0].begin_busy(&asking);
        let totals = Totals::of(&zones, &asking);
        assert_eq!((totals.reading, totals.writing, totals.waiting), (0, 1, 4));
    }

    #[test]
    fn those_who_take_connections_are_seen_with_what_they_were_sent() {
        let zones = Zones::open(&no_specs(), Vec::new()).unwrap();
        let seats = [(); 3].map(|()| Seat::take(&zones).unwrap());
        seats[1].set_takes_as(Some(7));
        seats[1].note_accepted();
        seats[0].note_offered(1, 5);
        assert_eq!(takers(&seats[0]), [(1, 7, 2)]);
        assert_eq!(seats[1].takers().count(), 0, "nobody sends to itself");
        seats[1].clear_offered();
        seats[2].set_takes_as(Some(8));
        assert_eq!(takers(&seats[0]), [(1, 7, 1), (2, 8, 0)]);
        seats[1].set_takes_as(None);
        assert_eq!(takers(&seats[0]), [(2, 8, 0)]);
    }
}
