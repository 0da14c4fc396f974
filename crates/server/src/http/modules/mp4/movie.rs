//! A whole file: its index is read, cut and written anew.

use std::ops::Range;

use super::atoms::{Fault, Header, Input, ReadAt, Skip, each, put, put_header};
use super::cut::{Left, Whole, cut};
use super::tables::{Cut, Track, duplicate, duration, set_duration, sized};

/// A longer `ftyp` is none.
const FTYP_BYTES_MAX: u64 = 1024;

/// So much behind the index may be looked at, where that does not end where it says.
const EXCESS_BYTES: u64 = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) start_ms: u64,
    /// 0 for all that is left.
    pub(super) length_ms: u64,
    pub(super) start_key_frame: bool,
    /// A larger index is refused.
    pub(super) index_bytes_max: u64,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Rewritten {
    /// The file as it is.
    Whole,
    /// A beginning, and then a part of the file.
    Part { head: Vec<u8>, samples: Range<u64> },
}

/// What stands at the top of a file.
#[derive(Default)]
struct Top {
    ftyp: Option<Vec<u8>>,
    movie: Option<Movie>,
    /// Where the samples end.
    samples_end: Option<u64>,
}

/// The index.
struct Movie {
    bytes: Vec<u8>,
    mvhd: Option<Vec<u8>>,
    tracks: Vec<Track>,
    cut: Cut,
}

/// Reads a file of `size` bytes and cuts its index.
///
/// Errors: what is wrong with the file.
///
/// Source: nginx's `ngx_http_mp4_process`.
pub(super) fn rewrite(file: &dyn ReadAt, size: u64, asked: &Asked) -> Result<Rewritten, Fault> {
    let input = Input { file, size };
    let Some(top) = read_top(&input, asked)? else {
        return Ok(Rewritten::Whole);
    };
    let missing = |what: &str| Fault(format!("no mp4 {what} found in \"@\""));
    let movie = top.movie.filter(|movie| !movie.tracks.is_empty());
    let mut movie = movie.ok_or_else(|| missing("trak atoms were"))?;
    let samples_end = top.samples_end.ok_or_else(|| missing("mdat atom was"))?;
    let whole = Whole {
        cut: movie.cut,
        start_key_frame: asked.start_key_frame,
        size,
        samples_end,
    };
    let (mut start, mut end) = (size, 0);
    let mut left = Vec::with_capacity(movie.tracks.len());
    for track in &mut movie.tracks {
        let cut = cut(track, whole)?;
        track.set_duration();
        (start, end) = (start.min(cut.start), end.max(cut.end));
        left.push(cut);
    }
    let end = end.max(start);
    if start > samples_end {
        return Err(Fault::new("start time is out mp4 mdat atom in \"@\""));
    }
    let ftyp = top.ftyp.unwrap_or_default();
    // Once to know how long it becomes, and once with the places that follow from that.
    let index_len = movie.written(&left, 0).len() as u64;
    let mdat = mdat_header(end - start);
    let head_len = ftyp.len() as u64 + index_len + mdat.len() as u64;
    let mut head = ftyp;
    head.extend(movie.written(&left, head_len.wrapping_sub(start)));
    head.extend(mdat);
    let samples = start..end;
    Ok(Rewritten::Part { head, samples })
}

/// Reads what stands at the top; `None` where the file can be sent as it is.
fn read_top(input: &Input<'_>, asked: &Asked) -> Result<Option<Top>, Fault> {
    let mut top = Top::default();
    let mut at = 0;
    while at < input.size {
        let left = input.size - at;
        let bytes = input.read(at, left.min(16))?;
        let Some(header) = Header::read(&bytes, left)? else {
            break;
        };
        let (content, len) = (at + header.len, header.atom_len - header.len);
        at += header.atom_len;
        match &header.name {
            b"ftyp" => {
                if len > FTYP_BYTES_MAX {
                    return Err(Fault(format!("\"@\" mp4 ftyp atom is too large:{len}")));
                }
                let mut ftyp = Vec::new();
                put(&mut ftyp, b"ftyp", &input.read(content, len)?);
                if top.ftyp.replace(ftyp).is_some() {
                    return Err(duplicate("ftyp"));
                }
            }
            b"moov" => {
                let is_first = top.samples_end.is_none();
                if is_first && asked.start_ms == 0 && asked.length_ms == 0 {
                    return Ok(None);
                }
                if top.movie.is_some() {
                    return Err(duplicate("moov"));
                }
                top.movie = Some(Movie::read(input, content, len, asked)?);
                if !is_first {
                    break;
                }
            }
            b"mdat" => {
                if top.samples_end.replace(at).is_some() {
                    return Err(duplicate("mdat"));
                }
                if top
                    .movie
                    .as_ref()
                    .is_some_and(|movie| !movie.tracks.is_empty())
                {
                    break;
                }
            }
            _ => {}
        }
    }
    Ok(Some(top))
}

impl Movie {
    fn read(input: &Input<'_>, at: u64, len: u64, asked: &Asked) -> Result<Self, Fault> {
        if len > asked.index_bytes_max {
            return Err(Fault(format!(
                "\"@\" mp4 moov atom is too large:{len}, you may want to increase \
                 mp4_max_buffer_size"
            )));
        }
        let excess = EXCESS_BYTES.min(input.size - at - len);
        let bytes = input.read(at, len + excess)?;
        let cut = Cut {
            start_ms: asked.start_ms,
            length_ms: asked.length_ms,
            timescale: 0,
        };
        let mut movie = Movie {
            bytes: Vec::new(),
            mvhd: None,
            tracks: Vec::new(),
            cut,
        };
        each(&bytes, 0..len as usize, |name, content| {
            match &name {
                b"mvhd" => movie.read_mvhd(&bytes[content])?,
                b"trak" => {
                    let track = Track::read(&bytes, content, movie.cut)?;
                    movie.tracks.extend(track);
                }
                b"cmov" => {
                    let what = "\"@\" mp4 compressed moov atom (cmov) is not supported";
                    return Err(Fault::new(what));
                }
                _ => {}
            }
            Ok(Skip::No)
        })?;
        movie.bytes = bytes;
        Ok(movie)
    }

    fn read_mvhd(&mut self, content: &[u8]) -> Result<(), Fault> {
        if self.mvhd.is_some() {
            return Err(duplicate("mvhd"));
        }
        let (mut content, at) = sized(content, "mvhd", (100, 16), (112, 24))?;
        let timescale = super::atoms::u32_at(&content, at - 4).unwrap_or_default();
        self.cut.timescale = timescale;
        let left = self.cut.left_of(duration(&content, at), timescale);
        let left = left.ok_or_else(|| Fault::new("\"@\" mp4 start time exceeds file duration"))?;
        set_duration(&mut content, at, left);
        self.mvhd = Some(content);
        Ok(())
    }

    /// The index as it is sent, with the places of chunks moved by so much.
    fn written(&self, left: &[Left], moved: u64) -> Vec<u8> {
        let mut content = Vec::new();
        if let Some(mvhd) = &self.mvhd {
            put(&mut content, b"mvhd", mvhd);
        }
        for (track, left) in self.tracks.iter().zip(left) {
            put(&mut content, b"trak", &self.track(track, left, moved));
        }
        let mut out = Vec::with_capacity(content.len() + 8);
        put(&mut out, b"moov", &content);
        out
    }

    fn track(&self, track: &Track, left: &Left, moved: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(tkhd) = &track.tkhd {
            put(&mut out, b"tkhd", tkhd);
        }
        if left.prefix != 0 {
            // What is sent for the sake of a key frame is not shown.
            let mut list = vec![1, 0, 0, 0, 0, 0, 0, 1];
            list.extend(track.movie_duration.to_be_bytes());
            list.extend(left.prefix.to_be_bytes());
            list.extend([0, 1, 0, 0]);
            let mut edits = Vec::new();
            put(&mut edits, b"elst", &list);
            put(&mut out, b"edts", &edits);
        }
        let mut media = Vec::new();
        if let Some(mdhd) = &track.mdhd {
            put(&mut media, b"mdhd", mdhd);
        }
        self.copy(&mut media, b"hdlr", track.hdlr.as_ref());
        let mut information = Vec::new();
        self.copy(&mut information, b"vmhd", track.vmhd.as_ref());
        self.copy(&mut information, b"smhd", track.smhd.as_ref());
        self.copy(&mut information, b"dinf", track.dinf.as_ref());
        put(&mut information, b"stbl", &self.samples(track, left, moved));
        put(&mut media, b"minf", &information);
        put(&mut out, b"mdia", &media);
        out
    }

    fn copy(&self, out: &mut Vec<u8>, name: &[u8; 4], range: Option<&Range<usize>>) {
        if let Some(range) = range {
            put(out, name, &self.bytes[range.clone()]);
        }
    }

    fn samples(&self, track: &Track, left: &Left, moved: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.copy(&mut out, b"stsd", track.stsd.as_ref());
        let pairs = |entry: &(u32, u32), out: &mut Vec<u8>| {
            out.extend(entry.0.to_be_bytes());
            out.extend(entry.1.to_be_bytes());
        };
        if let Some(times) = &track.times {
            put_table(&mut out, b"stts", times.flags, 8, &times.entries, pairs);
        }
        if let Some(frames) = &track.key_frames {
            let write = |entry: &u32, out: &mut Vec<u8>| out.extend(entry.to_be_bytes());
            put_table(&mut out, b"stss", frames.flags, 4, &frames.entries, write);
        }
        if let Some(offsets) = &track.offsets {
            put_table(&mut out, b"ctts", offsets.flags, 8, &offsets.entries, pairs);
        }
        if let Some(chunks) = &track.chunks {
            let mut entries = Vec::with_capacity(chunks.entries.len() + 2);
            entries.extend(left.chunks_before);
            entries.extend(&chunks.entries);
            entries.extend(left.chunks_after);
            put_table(
                &mut out,
                b"stsc",
                chunks.flags,
                12,
                &entries,
                |entry, out| {
                    entry.iter().for_each(|it| out.extend(it.to_be_bytes()));
                },
            );
        }
        if let Some(sizes) = &track.sizes {
            let each = sizes.each.as_deref().unwrap_or_default();
            put_header(&mut out, b"stsz", 12 + 4 * each.len());
            out.extend(sizes.flags);
            out.extend(sizes.uniform.to_be_bytes());
            out.extend(sizes.count.to_be_bytes());
            each.iter().for_each(|it| out.extend(it.to_be_bytes()));
        }
        if let Some(places) = &track.places {
            let entries = &places.entries;
            match places.is_wide {
                true => put_table(&mut out, b"co64", places.flags, 8, entries, |entry, out| {
                    out.extend(entry.wrapping_add(moved).to_be_bytes());
                }),
                false => put_table(&mut out, b"stco", places.flags, 4, entries, |entry, out| {
                    out.extend((entry.wrapping_add(moved) as u32).to_be_bytes());
                }),
            }
        }
        out
    }
}

fn put_table<T>(
    out: &mut Vec<u8>,
    name: &[u8; 4],
    flags: [u8; 4],
    entry_len: usize,
    entries: &[T],
    write: impl Fn(&T, &mut Vec<u8>),
) {
    put_header(out, name, 8 + entry_len * entries.len());
    out.extend(flags);
    out.extend((entries.len() as u32).to_be_bytes());
    entries.iter().for_each(|entry| write(entry, out));
}

/// The beginning of the samples.
fn mdat_header(len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    match u32::try_from(len + 8) {
        Ok(short) => {
            out.extend(short.to_be_bytes());
            out.extend(b"mdat");
        }
        Err(_) => {
            out.extend(1_u32.to_be_bytes());
            out.extend(b"mdat");
            out.extend((len + 16).to_be_bytes());
        }
    }
    out
}

/// Any bytes as a file, and the times that its first bytes say: it is cut or refused, and what is sent of it
/// lies within it. What was cut can be cut again.
#[cfg(any(test, fuzzing))]
#[cfg_attr(test, allow(unreachable_pub, reason = "a fuzz target calls it"))]
pub fn check(data: &[u8]) {
    let Some((times, file)) = data.split_first_chunk::<5>() else {
        return;
    };
    let asked = Asked {
        start_ms: u64::from(u16::from_be_bytes([times[0], times[1]])),
        length_ms: u64::from(u16::from_be_bytes([times[2], times[3]])),
        start_key_frame: times[4] & 1 == 1,
        index_bytes_max: 1 << 20,
    };
    let bytes = bytes::Bytes::copy_from_slice(file);
    let size = bytes.len() as u64;
    if let Ok(Rewritten::Part { head, samples }) = rewrite(&bytes, size, &asked) {
        assert!(
            samples.start <= samples.end && samples.end <= size,
            "{samples:?} of {size}"
        );
        let mut cut = head;
        cut.extend(&bytes[samples.start as usize..samples.end as usize]);
        let size = cut.len() as u64;
        let top = Input {
            file: &bytes::Bytes::from(cut),
            size,
        };
        let again = Asked {
            start_ms: 1,
            index_bytes_max: u64::MAX,
            ..asked
        };
        match read_top(&top, &again) {
            Ok(found) => assert!(found.is_some_and(|top| top.samples_end == Some(size))),
            Err(fault) => assert!(fault.0.contains("exceeds file duration"), "{}", fault.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;
    use crate::http::testing::corpus;

    /// What fuzzing has found, so that `cargo test` alone keeps it found.
    #[test]
    fn files_of_the_corpus_are_cut_or_refused() {
        let corpus = corpus("mp4");
        assert!(corpus.len() > 5);
        corpus.iter().for_each(|data| check(data));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn damaged_files_are_cut_or_refused(
            which in 0_usize..6,
            times in prop::array::uniform5(0_u8..8),
            damage in prop::collection::vec((0_usize..3000, any::<u8>()), 0..6),
            words in prop::collection::vec((0_usize..750, prop::sample::select(vec![0_u32, 1, 2, u32::MAX, 1 << 31])), 0..3),
        ) {
            let mut data = corpus("mp4").swap_remove(which);
            data[..5].copy_from_slice(&times);
            for (at, byte) in damage {
                if let Some(place) = data.get_mut(5 + at) {
                    *place = byte;
                }
            }
            for (at, word) in words {
                if let Some(place) = data.get_mut(5 + at * 4..9 + at * 4) {
                    place.copy_from_slice(&word.to_be_bytes());
                }
            }
            check(&data);
        }
    }
}
