//! The tables of a track: which samples there are, how long each is, and where they lie (ISO/IEC 14496-12,
//! sections 8.6 to 8.8).

use std::ops::Range;

use super::atoms::{Fault, Skip, each, u32_at, u64_at};

/// A track as it is read. Ranges are of the movie's bytes.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub(super) tkhd: Option<Vec<u8>>,
    /// In the time scale of the movie.
    pub(super) movie_duration: u64,
    pub(super) has_mdia: bool,
    pub(super) mdhd: Option<Vec<u8>>,
    pub(super) timescale: u32,
    /// In its own time scale.
    pub(super) duration: u64,
    pub(super) hdlr: Option<Range<usize>>,
    pub(super) has_minf: bool,
    pub(super) vmhd: Option<Range<usize>>,
    pub(super) smhd: Option<Range<usize>>,
    pub(super) dinf: Option<Range<usize>>,
    pub(super) has_stbl: bool,
    pub(super) stsd: Option<Range<usize>>,
    /// How many samples last how long.
    pub(super) times: Option<Table<(u32, u32)>>,
    /// The samples that need no other, counted from 1.
    pub(super) key_frames: Option<Table<u32>>,
    /// How many samples are shown how much later.
    pub(super) offsets: Option<Table<(u32, u32)>>,
    /// From which chunk on there are how many samples in each, of which description.
    pub(super) chunks: Option<Table<[u32; 3]>>,
    pub(super) sizes: Option<Sizes>,
    pub(super) places: Option<Places>,
}

/// A table, with the version and flags in front of it.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) flags: [u8; 4],
    pub(super) entries: Vec<T>,
}

/// The sizes of samples.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) flags: [u8; 4],
    /// Of all of them, where it is the same.
    pub(super) uniform: u32,
    pub(super) count: u32,
    /// Of each, where it is not.
    pub(super) each: Option<Vec<u32>>,
}

/// Where chunks begin.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) flags: [u8; 4],
    /// Whether they are written with 64 bits.
    pub(super) is_wide: bool,
    pub(super) entries: Vec<u64>,
}

/// What is to be read of the times that a movie tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) start_ms: u64,
    /// 0 for all that is left.
    pub(super) length_ms: u64,
    /// Of the movie.
    pub(super) timescale: u32,
}

impl Cut {
    /// A time in another scale.
    pub(super) fn scaled(time_ms: u64, timescale: u32) -> u64 {
        time_ms.wrapping_mul(u64::from(timescale)) / 1000
    }

    /// What is left of a duration; `None` where nothing is.
    pub(super) fn left_of(&self, duration: u64, timescale: u32) -> Option<u64> {
        let left = duration.checked_sub(Self::scaled(self.start_ms, timescale))?;
        Some(match self.length_ms {
            0 => left,
            length_ms => left.min(Self::scaled(length_ms, timescale)),
        })
    }
}

impl Track {
    /// Reads a track; `None` for one that ends before the time asked for.
    pub(super) fn read(
        movie: &[u8],
        within: Range<usize>,
        cut: Cut,
    ) -> Result<Option<Self>, Fault> {
        let mut track = Self::default();
        let skip = each(movie, within, |name, content| match &name {
            b"tkhd" => track.read_tkhd(&movie[content], cut),
            b"mdia" => track.read_mdia(movie, content, cut),
            _ => Ok(Skip::No),
        })?;
        Ok((skip == Skip::No).then_some(track))
    }

    fn read_tkhd(&mut self, content: &[u8], cut: Cut) -> Result<Skip, Fault> {
        let (mut content, at) = sized(content, "tkhd", (84, 20), (96, 28))?;
        let duration = duration(&content, at);
        if duration <= Cut::scaled(cut.start_ms, cut.timescale) {
            return Ok(Skip::Container);
        }
        self.movie_duration = cut.left_of(duration, cut.timescale).unwrap_or_default();
        set_duration(&mut content, at, self.movie_duration);
        once(&mut self.tkhd, content, "tkhd")?;
        Ok(Skip::No)
    }

    fn read_mdia(&mut self, movie: &[u8], within: Range<usize>, cut: Cut) -> Result<Skip, Fault> {
        only_once(&mut self.has_mdia, "mdia")?;
        each(movie, within, |name, content| match &name {
            b"mdhd" => self.read_mdhd(&movie[content], cut),
            b"hdlr" => once(&mut self.hdlr, content, "hdlr").map(|()| Skip::No),
            b"minf" => self.read_minf(movie, content),
            _ => Ok(Skip::No),
        })
    }

    fn read_mdhd(&mut self, content: &[u8], cut: Cut) -> Result<Skip, Fault> {
        let (content, at) = sized(content, "mdhd", (24, 16), (36, 24))?;
        let timescale = u32_at(&content, at - 4).unwrap_or_default();
        let duration = duration(&content, at);
        if duration <= Cut::scaled(cut.start_ms, timescale) {
            return Ok(Skip::Container);
        }
        once(&mut self.mdhd, content, "mdhd")?;
        self.timescale = timescale;
        self.duration = cut.left_of(duration, timescale).unwrap_or_default();
        Ok(Skip::No)
    }

    /// Writes the duration that the track has in the end.
    pub(super) fn set_duration(&mut self) {
        let duration = self.duration;
        if let Some(content) = &mut self.mdhd {
            let at = if content[0] == 0 { 16 } else { 24 };
            set_duration(content, at, duration);
        }
    }

    fn read_minf(&mut self, movie: &[u8], within: Range<usize>) -> Result<Skip, Fault> {
        only_once(&mut self.has_minf, "minf")?;
        each(movie, within, |name, content| {
            match &name {
                b"vmhd" | b"smhd" if self.vmhd.is_some() || self.smhd.is_some() => {
                    return Err(duplicate("vmhd/smhd"));
                }
                b"vmhd" => self.vmhd = Some(content),
                b"smhd" => self.smhd = Some(content),
                b"dinf" => once(&mut self.dinf, content, "dinf")?,
                b"stbl" => self.read_stbl(movie, content)?,
                _ => {}
            }
            Ok(Skip::No)
        })
    }

    fn read_stbl(&mut self, movie: &[u8], within: Range<usize>) -> Result<(), Fault> {
        only_once(&mut self.has_stbl, "stbl")?;
        let pair = |bytes: &[u8]| (u32_at(bytes, 0).unwrap_or(0), u32_at(bytes, 4).unwrap_or(0));
        let one = |bytes: &[u8]| u32_at(bytes, 0).unwrap_or(0);
        each(movie, within, |name, content| {
            let bytes = &movie[content.clone()];
            match &name {
                b"stsd" if bytes.len() < 16 => return Err(too_small("stsd")),
                b"stsd" => once(&mut self.stsd, content, "stsd")?,
                b"stts" => once(&mut self.times, table(bytes, "stts", 8, pair)?, "stts")?,
                b"stss" => once(&mut self.key_frames, table(bytes, "stss", 4, one)?, "stss")?,
                b"ctts" => once(&mut self.offsets, table(bytes, "ctts", 8, pair)?, "ctts")?,
                b"stsc" => {
                    let entry = |bytes: &[u8]| [0, 4, 8].map(|at| u32_at(bytes, at).unwrap_or(0));
                    once(&mut self.chunks, table(bytes, "stsc", 12, entry)?, "stsc")?;
                }
                b"stsz" => once(&mut self.sizes, Sizes::read(bytes)?, "stsz")?,
                b"stco" => {
                    self.read_places(table(bytes, "stco", 4, |it| u64::from(one(it)))?, false)?
                }
                b"co64" => {
                    let entry = |bytes: &[u8]| u64_at(bytes, 0).unwrap_or(0);
                    self.read_places(table(bytes, "co64", 8, entry)?, true)?;
                }
                _ => {}
            }
            Ok(Skip::No)
        })?;
        Ok(())
    }

    fn read_places(&mut self, table: Table<u64>, is_wide: bool) -> Result<(), Fault> {
        let Table { flags, entries } = table;
        let places = Places {
            flags,
            is_wide,
            entries,
        };
        once(&mut self.places, places, "stco/co64")
    }
}

impl Sizes {
    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let (Some(flags), Some(uniform), Some(count)) =
            (bytes.first_chunk(), u32_at(bytes, 4), u32_at(bytes, 8))
        else {
            return Err(too_small("stsz"));
        };
        let each = match uniform {
            0 => {
                let len = count as usize * 4;
                let bytes = bytes[12..].get(..len).ok_or_else(|| too_small("stsz"))?;
                let entries = bytes.chunks_exact(4);
                Some(entries.map(|entry| u32_at(entry, 0).unwrap_or(0)).collect())
            }
            _ => None,
        };
        Ok(Self {
            flags: *flags,
            uniform,
            count,
            each,
        })
    }
}

/// Reads a table of entries of so many bytes.
fn table<T>(
    bytes: &[u8],
    name: &str,
    entry_len: usize,
    entry: impl Fn(&[u8]) -> T,
) -> Result<Table<T>, Fault> {
    let (Some(flags), Some(count)) = (bytes.first_chunk(), u32_at(bytes, 4)) else {
        return Err(too_small(name));
    };
    let len = count as usize * entry_len;
    let entries = bytes[8..].get(..len).ok_or_else(|| too_small(name))?;
    Ok(Table {
        flags: *flags,
        entries: entries.chunks_exact(entry_len).map(entry).collect(),
    })
}

/// The content of an atom that tells a duration, and where that stands; the least length and the place by
/// the atom's version, 0 and 1.
pub(super) fn sized(
    content: &[u8],
    name: &str,
    (len_0, at_0): (usize, usize),
    (len_1, at_1): (usize, usize),
) -> Result<(Vec<u8>, usize), Fault> {
    let (len, at) = match content.first() {
        Some(0) | None => (len_0, at_0),
        _ => (len_1, at_1),
    };
    // As in nginx the first length goes for both.
    match content.len() < len.max(len_0) {
        true => Err(too_small(name)),
        false => Ok((content.to_vec(), at)),
    }
}

/// The duration at its place, which has 64 bits where the version is 1.
pub(super) fn duration(content: &[u8], at: usize) -> u64 {
    match content[0] {
        0 => u64::from(u32_at(content, at).unwrap_or_default()),
        _ => u64_at(content, at).unwrap_or_default(),
    }
}

pub(super) fn set_duration(content: &mut [u8], at: usize, duration: u64) {
    match content[0] {
        0 => content[at..at + 4].copy_from_slice(&(duration as u32).to_be_bytes()),
        _ => content[at..at + 8].copy_from_slice(&duration.to_be_bytes()),
    }
}

pub(super) fn too_small(name: &str) -> Fault {
    Fault(format!("\"@\" mp4 {name} atom too small"))
}

pub(super) fn duplicate(name: &str) -> Fault {
    Fault(format!("duplicate mp4 {name} atom in \"@\""))
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Fault> {
    match slot.replace(value) {
        Some(_) => Err(duplicate(name)),
        None => Ok(()),
    }
}

fn only_once(seen: &mut bool, name: &str) -> Result<(), Fault> {
    match std::mem::replace(seen, true) {
        true => Err(duplicate(name)),
        false => Ok(()),
    }
}
