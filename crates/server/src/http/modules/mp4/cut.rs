//! Cutting the tables of a track to a time: which samples are left, in which chunks they lie, and from where to
//! where these reach in the file.
//!
//! Source: nginx's `ngx_http_mp4_module`, whose numbers are those here; what would wrap around there does so
//! here, and what would be read outside of a table is an error.

use super::atoms::Fault;
use super::tables::{Cut, Track};

/// What is left of a track's samples.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The first sample, and one past the last; from 0.
    start_sample: u64,
    end_sample: u64,
    /// The same of chunks.
    start_chunk: u64,
    end_chunk: u64,
    /// How many samples of the first chunk are left out, and how many of the last are in.
    start_chunk_samples: u64,
    end_chunk_samples: u64,
    /// Their bytes.
    start_chunk_bytes: u64,
    end_chunk_bytes: u64,
    /// What is sent before the time asked for, for the sake of a key frame; in the track's time scale.
    pub(super) prefix: u64,
    /// Where its samples lie in the file.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Entries of the table of chunks in front of its entries, and behind.
    pub(super) chunks_before: Option<[u32; 3]>,
    pub(super) chunks_after: Option<[u32; 3]>,
}

/// What of the movie goes for all of its tracks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) cut: Cut,
    pub(super) start_key_frame: bool,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Where the samples end in the file.
    pub(super) samples_end: u64,
}

/// Cuts a track.
///
/// Errors: the tables do not belong together, or do not reach to the time asked for.
pub(super) fn cut(track: &mut Track, whole: Whole) -> Result<Left, Fault> {
    let mut left = Left::default();
    left.cut_times(track, whole)?;
    left.cut_key_frames(track, whole);
    left.cut_offsets(track, whole);
    left.cut_chunks(track, whole)?;
    left.cut_sizes(track, whole)?;
    left.cut_places(track, whole)?;
    Ok(left)
}

fn out(what: &str) -> Fault {
    Fault(format!("{what} in \"@\""))
}

/// Where a time lies in the table of times.
struct Found {
    /// The entry, and how many samples of it lie before.
    at: usize,
    rest: u32,
    /// All samples that lie before.
    sample: u64,
}

impl Left {
    fn cut_times(&mut self, track: &mut Track, whole: Whole) -> Result<(), Fault> {
        let no_times = || out("no mp4 stts atoms were found");
        let start = Cut::scaled(whole.cut.start_ms, track.timescale);
        let found = find_time(&track.times.as_ref().ok_or_else(no_times)?.entries, start);
        let found = found.map_err(|_| out("start time is out mp4 stts samples"))?;
        self.begin_at(track, found, whole.start_key_frame)?;
        if whole.cut.length_ms == 0 {
            return Ok(());
        }
        let length = Cut::scaled(whole.cut.length_ms, track.timescale);
        let entries = &mut track.times.as_mut().ok_or_else(no_times)?.entries;
        let sample = match find_time(entries, length.wrapping_add(self.prefix)) {
            Ok(Found { at, rest, sample }) => {
                entries[at].0 = rest;
                entries.truncate(at + 1);
                sample
            }
            Err(all) => all,
        };
        self.end_sample = self.start_sample.wrapping_add(sample);
        Ok(())
    }

    /// Begins at a sample, or at the key frame before.
    fn begin_at(
        &mut self,
        track: &mut Track,
        found: Found,
        start_key_frame: bool,
    ) -> Result<(), Fault> {
        let too_far = || out("start time is out mp4 stts samples");
        let mut ahead = match (&track.key_frames, start_key_frame) {
            (Some(frames), true) => samples_since_key_frame(&frames.entries, found.sample as u32),
            _ => 0,
        };
        let Found {
            mut at,
            mut rest,
            sample,
        } = found;
        let sample = sample.checked_sub(u64::from(ahead)).ok_or_else(too_far)?;
        let entries = &mut track.times.as_mut().ok_or_else(too_far)?.entries;
        while rest < ahead {
            let prefix = u64::from(rest.wrapping_mul(entries[at].1));
            self.prefix = self.prefix.wrapping_add(prefix);
            ahead -= rest;
            at = at.checked_sub(1).ok_or_else(too_far)?;
            rest = entries[at].0;
        }
        let prefix = u64::from(ahead.wrapping_mul(entries[at].1));
        self.prefix = self.prefix.wrapping_add(prefix);
        track.duration = track.duration.wrapping_add(self.prefix);
        rest -= ahead;
        entries[at].0 = entries[at].0.wrapping_sub(rest);
        entries.drain(..at);
        self.start_sample = sample;
        Ok(())
    }

    fn cut_key_frames(&self, track: &mut Track, whole: Whole) {
        let Some(frames) = &mut track.key_frames else {
            return;
        };
        let start = self.start_sample as u32;
        // The first of a run as nginx goes through it, whatever the order.
        let first = frames
            .entries
            .iter()
            .position(|it| *it >= start.wrapping_add(1));
        frames
            .entries
            .drain(..first.unwrap_or(frames.entries.len()));
        if whole.cut.length_ms != 0 {
            let end = (self.end_sample as u32).wrapping_add(1);
            let end = frames.entries.iter().position(|it| *it >= end);
            frames.entries.truncate(end.unwrap_or(frames.entries.len()));
        }
        for frame in &mut frames.entries {
            *frame = frame.wrapping_sub(start);
        }
    }

    fn cut_offsets(&self, track: &mut Track, whole: Whole) {
        let Some(offsets) = &mut track.offsets else {
            return;
        };
        let entries = &mut offsets.entries;
        match find_sample(entries, (self.start_sample as u32).wrapping_add(1)) {
            Some((at, rest)) => {
                entries[at].0 -= rest;
                entries.drain(..at);
            }
            None => entries.clear(),
        }
        if whole.cut.length_ms != 0 {
            let count = self
                .end_sample
                .wrapping_sub(self.start_sample)
                .wrapping_add(1);
            if let Some((at, rest)) = find_sample(entries, count as u32) {
                entries[at].0 = rest;
                entries.truncate(at + 1);
            }
        }
        if entries.is_empty() {
            track.offsets = None;
        }
    }

    fn cut_chunks(&mut self, track: &mut Track, whole: Whole) -> Result<(), Fault> {
        let count = track
            .places
            .as_ref()
            .map_or(0, |places| places.entries.len());
        let Some(chunks) = &mut track.chunks else {
            return Err(out("no mp4 stsc atoms were found"));
        };
        if chunks.entries.is_empty() {
            return Err(out("zero number of entries in stsc atom"));
        }
        let next = (count as u32).wrapping_add(1);
        self.first_chunk(&mut chunks.entries, next)?;
        if whole.cut.length_ms != 0 {
            self.last_chunk(&mut chunks.entries, next)?;
        }
        for [chunk, _, _] in &mut chunks.entries {
            *chunk = chunk.wrapping_sub(self.start_chunk as u32);
        }
        Ok(())
    }

    fn first_chunk(&mut self, entries: &mut Vec<[u32; 3]>, end: u32) -> Result<(), Fault> {
        let found = find_chunk(entries, self.start_sample as u32, end, "start")?;
        let at = found.at;
        let (chunk, out) = found.chunk_and_rest();
        self.start_chunk = chunk;
        self.start_chunk_samples = out;
        let [first, samples, id] = &mut entries[at];
        *first = (chunk as u32).wrapping_add(1);
        let left = samples.wrapping_sub(out as u32);
        if out != 0 && u64::from(found.next).wrapping_sub(chunk) == 2 {
            *samples = left;
        } else if out != 0 {
            self.chunks_before = Some([1, left, *id]);
            *first = (chunk as u32).wrapping_add(2);
        }
        entries.drain(..at);
        Ok(())
    }

    fn last_chunk(&mut self, entries: &mut Vec<[u32; 3]>, end: u32) -> Result<(), Fault> {
        let mut sample = self.end_sample.wrapping_sub(self.start_sample) as u32;
        if let Some([_, samples, _]) = &mut self.chunks_before {
            *samples = (*samples).min(sample);
            sample -= *samples;
        }
        let found = find_chunk(entries, sample, end, "end")?;
        let (chunk, rest) = found.chunk_and_rest();
        let (at, id) = (found.at, entries[found.at][2]);
        let has_of_it = found.sample != 0;
        self.end_chunk_samples = match has_of_it {
            true => u64::from(entries[at][1]),
            false => u64::from(found.samples_before),
        };
        self.end_chunk = chunk;
        if rest != 0 {
            self.end_chunk = chunk.wrapping_add(1);
            self.end_chunk_samples = rest;
            let is_alone = u64::from(found.chunk.wrapping_add(1)).wrapping_sub(chunk) == 2;
            if is_alone {
                entries[at][1] = rest as u32;
            } else {
                let number = self.end_chunk.wrapping_sub(self.start_chunk) as u32;
                self.chunks_after = Some([number, rest as u32, id]);
            }
        }
        entries.truncate(at + usize::from(has_of_it));
        Ok(())
    }

    fn cut_sizes(&mut self, track: &mut Track, whole: Whole) -> Result<(), Fault> {
        let Some(sizes) = &mut track.sizes else {
            return Ok(());
        };
        let Some(each) = &mut sizes.each else {
            return Ok(());
        };
        let start = self.start_sample as usize;
        if start > each.len() {
            return Err(out("start time is out mp4 stsz samples"));
        }
        let first = start.checked_sub(self.start_chunk_samples as usize);
        let first = first.ok_or_else(|| out("too many mp4 start chunk samples"))?;
        self.start_chunk_bytes = each[first..start].iter().map(|it| u64::from(*it)).sum();
        if self.start_chunk_bytes > whole.size {
            return Err(out("too large mp4 start samples size"));
        }
        each.drain(..start);
        if whole.cut.length_ms != 0 {
            let count = self.end_sample.wrapping_sub(self.start_sample);
            if count > each.len() as u64 {
                return Err(out("end time is out mp4 stsz samples"));
            }
            each.truncate(count as usize);
            let first = count.checked_sub(self.end_chunk_samples);
            let first = first.ok_or_else(|| out("too many mp4 end chunk samples"));
            // Where all of it lies in the first chunk, what is left out of that counts, too.
            let last = match first {
                Ok(first) => each[first as usize..].iter().map(|it| u64::from(*it)).sum(),
                Err(fault) => return Err(fault),
            };
            self.end_chunk_bytes = last;
            if self.end_chunk_bytes > whole.size {
                return Err(out("too large mp4 end samples size"));
            }
        }
        sizes.count = each.len() as u32;
        Ok(())
    }

    fn cut_places(&mut self, track: &mut Track, whole: Whole) -> Result<(), Fault> {
        let Some(places) = &mut track.places else {
            return Err(out("no mp4 stco atoms were found"));
        };
        let name = if places.is_wide { "co64" } else { "stco" };
        let widest = match places.is_wide {
            true => u64::MAX,
            false => u64::from(u32::MAX),
        };
        let behind = |chunk: u64, bytes: u64| {
            let place = chunk
                .checked_add(bytes)
                .filter(|it| *it <= whole.size && *it <= widest);
            place.ok_or_else(|| out("too large chunk offset"))
        };
        let count = places.entries.len() as u64;
        if self.start_chunk > count {
            return Err(Fault(format!(
                "start time is out mp4 {name} chunks in \"@\""
            )));
        }
        if whole.cut.length_ms != 0 && self.end_chunk > count {
            return Err(Fault(format!("end time is out mp4 {name} chunks in \"@\"")));
        }
        places.entries.drain(..self.start_chunk as usize);
        if let Some(first) = places.entries.first_mut() {
            *first = behind(*first, self.start_chunk_bytes)?;
            self.start = *first;
        }
        self.end = whole.samples_end;
        if whole.cut.length_ms != 0 {
            let count = self.end_chunk.saturating_sub(self.start_chunk);
            places.entries.truncate(count as usize);
            if let Some(last) = places.entries.last() {
                self.end = behind(*last, self.end_chunk_bytes)?;
            }
        }
        if places.entries.is_empty() {
            (self.start, self.end) = (whole.size, 0);
        }
        Ok(())
    }
}

/// Finds a time. Where it lies behind all samples, how many these are is the error.
fn find_time(entries: &[(u32, u32)], mut time: u64) -> Result<Found, u64> {
    let mut sample = 0_u64;
    for (at, (count, duration)) in entries.iter().enumerate() {
        let all = u64::from(*count) * u64::from(*duration);
        if time < all {
            let rest = time / u64::from(*duration);
            return Ok(Found {
                at,
                rest: rest as u32,
                sample: sample + rest,
            });
        }
        sample += u64::from(*count);
        time -= all;
    }
    Err(sample)
}

/// How many samples lie between one and the key frame before it.
fn samples_since_key_frame(frames: &[u32], sample: u32) -> u32 {
    let sample = sample.wrapping_add(1);
    let before = frames.iter().take_while(|frame| **frame <= sample).last();
    before.map_or(0, |frame| sample - frame)
}

/// Finds a sample, from 1, in a table of how many there are: the entry, and how many of it lie before.
fn find_sample(entries: &[(u32, u32)], mut sample: u32) -> Option<(usize, u32)> {
    for (at, (count, _)) in entries.iter().enumerate() {
        if sample <= *count {
            return Some((at, sample.wrapping_sub(1)));
        }
        sample -= count;
    }
    None
}

/// Where a sample lies in the table of chunks.
struct InChunks {
    at: usize,
    /// The first chunk of the entry, from 1, and that of the next.
    chunk: u32,
    next: u32,
    /// Samples of a chunk, and of one of the entry before.
    samples: u32,
    samples_before: u32,
    /// The sample from the first of the entry on.
    sample: u32,
}

impl InChunks {
    /// The chunk that it lies in, from 0, and how many samples of that lie before.
    fn chunk_and_rest(&self) -> (u64, u64) {
        let chunk = u64::from(self.chunk).wrapping_sub(1);
        let chunk = chunk.wrapping_add(u64::from(self.sample / self.samples));
        (chunk, u64::from(self.sample % self.samples))
    }
}

fn find_chunk(
    entries: &[[u32; 3]],
    mut sample: u32,
    end: u32,
    which: &str,
) -> Result<InChunks, Fault> {
    let mut samples_before = 0;
    for (at, [chunk, samples, _]) in entries.iter().enumerate() {
        let following = entries.get(at + 1).map(|next| next[0]);
        let next = following.unwrap_or(end);
        if next < *chunk {
            return Err(out("unordered mp4 stsc chunks"));
        }
        let all = (next - chunk).wrapping_mul(*samples);
        let is_here = match following {
            Some(_) => sample < all,
            None if sample > all => {
                return Err(Fault(format!(
                    "{which} time is out mp4 stsc chunks in \"@\""
                )));
            }
            None => true,
        };
        if is_here {
            return match samples {
                0 => Err(out("zero number of samples")),
                samples => Ok(InChunks {
                    at,
                    chunk: *chunk,
                    next,
                    samples: *samples,
                    samples_before,
                    sample,
                }),
            };
        }
        sample -= all;
        samples_before = *samples;
    }
    Err(out("zero number of entries in stsc atom"))
}
