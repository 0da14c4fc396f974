//! Videos cut to a time: the same bytes as nginx's, for files of many shapes, and what is said of files that
//! are none.

use std::time::Duration;

use super::known::Difference;
use super::normal::normal;
use super::pair::{Pair, ask, compare_with, describe, start_on};
use super::request::{Case, get, head, post};
use crate::support::{Folder, until};

/// Numbers by a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.next(one_in) == 0
    }
}

fn atom(name: &str, content: &[u8]) -> Vec<u8> {
    let mut atom = (content.len() as u32 + 8).to_be_bytes().to_vec();
    atom.extend(name.as_bytes());
    atom.extend(content);
    atom
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn table(name: &str, entries: &[Vec<u32>]) -> Vec<u8> {
    let mut content = words(&[0, entries.len() as u32]);
    entries
        .iter()
        .for_each(|entry| content.extend(words(entry)));
    atom(name, &content)
}

/// An atom that tells a duration: what stands before it and behind it, by the number of words, and its scale.
fn timed(name: &str, is_long: bool, before: &[u32], duration: u32, behind: usize) -> Vec<u8> {
    let mut content = words(&[u32::from(is_long) << 24]);
    // Two times.
    content.extend(words(&vec![7; if is_long { 4 } else { 2 }]));
    content.extend(words(before));
    if is_long {
        content.extend(words(&[0]));
    }
    content.extend(words(&[duration]));
    content.extend(words(&vec![5; behind]));
    atom(name, &content)
}

/// The samples of a track: how many are in each chunk, and their bytes.
struct Chunk {
    sizes: Vec<u32>,
}

struct TrackTables {
    timescale: u32,
    duration: u32,
    times: Vec<Vec<u32>>,
    keys: Option<Vec<Vec<u32>>>,
    shown: Option<Vec<Vec<u32>>>,
    chunks: Vec<Chunk>,
    uniform: Option<u32>,
}

fn track(numbers: &mut Numbers, seconds: u32) -> TrackTables {
    let timescale = [1000, 600, 90_000, 12_800, 48_000][numbers.next(5) as usize];
    let total = u64::from(timescale) * u64::from(seconds);
    let step = (total / (5 + numbers.next(60))).max(1) as u32;
    let (mut times, mut passed, mut count) = (Vec::new(), 0_u64, 0_u32);
    while passed < total {
        let (run, lasts) = (
            1 + numbers.next(9) as u32,
            step - numbers.next(u64::from(step / 3 + 1)) as u32,
        );
        times.push(vec![run, lasts.max(1)]);
        passed += u64::from(run) * u64::from(lasts.max(1));
        count += run;
    }
    let keys = (!numbers.is(3)).then(|| {
        let mut keys = vec![vec![1]];
        let mut at = 1;
        while at < count {
            at += 1 + numbers.next(12) as u32;
            if at <= count {
                keys.push(vec![at]);
            }
        }
        keys
    });
    let shown = numbers.is(2).then(|| {
        let (mut runs, mut left) = (Vec::new(), count);
        while left > 0 {
            let run = (1 + numbers.next(6) as u32).min(left);
            runs.push(vec![run, numbers.next(500) as u32]);
            left -= run;
        }
        runs
    });
    let uniform = numbers.is(4).then(|| 1 + numbers.next(50) as u32);
    let (mut chunks, mut left, mut per_chunk) = (Vec::new(), count, 1 + numbers.next(6) as u32);
    while left > 0 {
        if numbers.is(3) {
            per_chunk = 1 + numbers.next(8) as u32;
        }
        let taken = per_chunk.min(left);
        let sizes = (0..taken)
            .map(|_| uniform.unwrap_or(numbers.next(90) as u32))
            .collect();
        chunks.push(Chunk { sizes });
        left -= taken;
    }
    TrackTables {
        timescale,
        duration: passed as u32,
        times,
        keys,
        shown,
        chunks,
        uniform,
    }
}

impl TrackTables {
    /// The track, whose chunks begin at these places.
    fn written(&self, number: u32, places: &[u64], movie_scale: u32, forms: u64) -> Vec<u8> {
        let mut runs: Vec<Vec<u32>> = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate() {
            let samples = chunk.sizes.len() as u32;
            if runs.last().is_none_or(|run| run[1] != samples) {
                runs.push(vec![at as u32 + 1, samples, 1]);
            }
        }
        let all: Vec<u32> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.sizes.clone())
            .collect();
        let mut sizes = words(&[0, self.uniform.unwrap_or(0), all.len() as u32]);
        if self.uniform.is_none() {
            sizes.extend(words(&all));
        }
        let mut stbl = atom("stsd", &[words(&[0, 1]), atom("mp4v", &[1; 20])].concat());
        stbl.extend(table("stts", &self.times));
        if let Some(keys) = &self.keys {
            stbl.extend(table("stss", keys));
        }
        if let Some(shown) = &self.shown {
            stbl.extend(table("ctts", shown));
        }
        stbl.extend(table("stsc", &runs));
        stbl.extend(atom("stsz", &sizes));
        if forms & 1 == 0 {
            let places: Vec<Vec<u32>> = places.iter().map(|it| vec![*it as u32]).collect();
            stbl.extend(table("stco", &places));
        } else {
            let places: Vec<Vec<u32>> = places
                .iter()
                .map(|it| vec![(it >> 32) as u32, *it as u32])
                .collect();
            stbl.extend(table("co64", &places));
        }
        let head = if number == 1 { "vmhd" } else { "smhd" };
        let minf = [
            atom(head, &[2; 12]),
            atom("dinf", &atom("dref", &[3; 12])),
            atom("xtra", b"unknown"),
            atom("stbl", &stbl),
        ];
        let mdhd = timed("mdhd", forms & 2 != 0, &[self.timescale], self.duration, 1);
        let mut mdia = [mdhd, atom("hdlr", &[4; 24]), atom("minf", &minf.concat())];
        if forms & 4 != 0 {
            mdia.reverse();
        }
        let shown = u64::from(self.duration) * u64::from(movie_scale) / u64::from(self.timescale);
        let tkhd = timed("tkhd", forms & 8 != 0, &[number, 0], shown as u32, 15);
        let edts = atom("edts", &table("elst", &[vec![shown as u32, 0, 0x1_0000]]));
        atom("trak", &[tkhd, edts, atom("mdia", &mdia.concat())].concat())
    }
}

/// The beginning of the samples.
fn mdat_head(len: usize, is_long: bool) -> Vec<u8> {
    match is_long {
        false => [words(&[len as u32 + 8]), b"mdat".to_vec()].concat(),
        true => [words(&[1]), b"mdat".to_vec(), words(&[0, len as u32 + 16])].concat(),
    }
}

/// A file by a seed.
fn file(seed: u64) -> Vec<u8> {
    let numbers = &mut Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let seconds = 3 + numbers.next(20) as u32;
    let count = 1 + numbers.next(3);
    let tracks: Vec<_> = (0..count)
        .map(|_| {
            let shorter = numbers.next(3) as u32;
            track(numbers, seconds.saturating_sub(shorter).max(1))
        })
        .collect();
    let movie_scale = [1000, 600, 90_000][numbers.next(3) as usize];
    let (forms, is_index_first, is_long) = (numbers.next(64), numbers.is(2), numbers.is(4));
    let ftyp = match numbers.is(5) {
        true => Vec::new(),
        false => atom("ftyp", b"isom\0\0\x02\0isomiso2mp41"),
    };
    let free = if numbers.is(2) {
        atom("free", &[0; 20])
    } else {
        Vec::new()
    };
    // Chunks of the tracks take turns.
    let (mut data, mut relative) = (Vec::new(), vec![Vec::new(); tracks.len()]);
    let longest = tracks
        .iter()
        .map(|track| track.chunks.len())
        .max()
        .unwrap_or(0);
    for at in 0..longest {
        for (track, places) in tracks.iter().zip(&mut relative) {
            if let Some(chunk) = track.chunks.get(at) {
                places.push(data.len() as u64);
                let len: u32 = chunk.sizes.iter().sum();
                data.extend((0..len).map(|_| numbers.next(256) as u8));
            }
        }
    }
    let index = |moved: u64| {
        let lasts = u64::from(seconds) * u64::from(movie_scale);
        let mut content = timed("mvhd", forms & 16 != 0, &[movie_scale], lasts as u32, 20);
        for (at, (track, places)) in tracks.iter().zip(&relative).enumerate() {
            let places: Vec<u64> = places.iter().map(|place| place + moved).collect();
            content.extend(track.written(at as u32 + 1, &places, movie_scale, forms));
        }
        content.extend(atom("udta", b"about"));
        atom("moov", &content)
    };
    let mdat_head = mdat_head(data.len(), is_long);
    let index_len = index(0).len();
    let before = match is_index_first {
        true => ftyp.len() + free.len() + index_len + mdat_head.len(),
        false => ftyp.len() + free.len() + mdat_head.len(),
    };
    let index = index(before as u64);
    match is_index_first {
        true => [ftyp, free, index, mdat_head, data].concat(),
        false => [ftyp, free, mdat_head, data, index].concat(),
    }
}

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log error;
events {}
http {
  NGINX_ONLY
  LOGS
  access_log off;
  types { video/mp4 mp4; }
  server {
    listen 127.0.0.1:PORT;
    server_name first.example;
    root ROOT/html;
    location / { mp4; }
    location /key/ { alias ROOT/html/; mp4; mp4_start_key_frame on; }
    location /small/ { alias ROOT/html/; mp4; mp4_buffer_size 512; mp4_max_buffer_size 600; }
  }
}
"#;

const FILES: u64 = 60;

fn write(folder: &Folder) {
    for seed in 0..FILES {
        folder.write(&format!("html/{seed}.mp4"), file(seed));
    }
    let whole = file(1);
    for cut in [0, 3, 7, 12, 40, 200, whole.len() - 1] {
        folder.write(&format!("html/cut-{cut}.mp4"), &whole[..cut]);
    }
    folder.write(
        "html/text.mp4",
        "this is no video at all, but has some length",
    );
    folder.write(
        "html/cmov.mp4",
        [atom("moov", &atom("cmov", b"x")), atom("mdat", b"y")].concat(),
    );
    folder.write(
        "html/twice.mp4",
        [atom("mdat", b"y"), atom("mdat", b"y")].concat(),
    );
    folder.write("html/no-index.mp4", atom("mdat", b"y"));
    folder.write("html/no-samples.mp4", atom("moov", b""));
    folder.write("html/small-atom.mp4", words(&[7, 7, 7]));
    folder.write("html/big-ftyp.mp4", atom("ftyp", &[0; 2000]));
    folder.write("html/real.mp4", include_bytes!("tone.mp4"));
}

const TIMES: [&str; 13] = [
    "start=0",
    "start=1",
    "start=2.5",
    "start=0.04",
    "end=2",
    "start=1&end=2.2",
    "start=2&end=2.01",
    "start=1.7&end=90",
    "start=90",
    "start=5&end=4",
    "start=3.333&end=6.667",
    "end=0",
    "start=x",
];

/// Files that are none, or not whole.
const DAMAGED: [&str; 14] = [
    "cut-0",
    "cut-3",
    "cut-7",
    "cut-12",
    "cut-40",
    "cut-200",
    "text",
    "cmov",
    "twice",
    "no-index",
    "no-samples",
    "small-atom",
    "big-ftyp",
    "none",
];

fn cases() -> Vec<Case> {
    let files = (0..FILES).map(|seed| seed.to_string());
    let mut cases: Vec<Case> = Vec::new();
    for name in files.chain(["real".to_owned()]) {
        for times in TIMES {
            cases.push(get(format!("/{name}.mp4?{times}")).into());
            cases.push(get(format!("/key/{name}.mp4?{times}")).into());
        }
        let cut = format!("/{name}.mp4?start=1");
        let several = "Range: bytes=1-2,5-6";
        cases.push(head(&cut).into());
        cases.push(get(&cut).line("Range: bytes=10-1999").into());
        cases.push(get(&cut).line(several).into());
        cases.push(get(format!("/{name}.mp4")).line(several).into());
        cases.push(get(format!("/small/{name}.mp4?start=1")).into());
    }
    for name in DAMAGED {
        cases.push(get(format!("/{name}.mp4?start=1")).into());
        cases.push(get(format!("/{name}.mp4")).into());
    }
    cases.push(post("/1.mp4?start=1", "x").into());
    cases.push(get("/?start=1").into());
    cases
}

/// What the error log says, but for what has changed since the version that is asked.
fn log(pair: &Pair, name: &str) -> Vec<String> {
    let text = pair.folder.read(&format!("logs/{name}-error.log"));
    let said = |line: &str| {
        let (_, said) = line.split_once(" *")?;
        let (_, said) = said.split_once(' ')?;
        Some(said.split(", client: ").next()?.to_owned())
    };
    let has_changed = |said: &String| {
        said.starts_with("no data between start time and end time")
            || said.starts_with("start time is out mp4 mdat atom")
            || said.starts_with("zero size buf in output")
    };
    let lines = text.lines().filter_map(said);
    lines.filter(|said| !has_changed(said)).collect()
}

#[test]
fn videos_are_cut_as_by_nginx() {
    let Some(pair) = start_on(CONFIG, write, "") else {
        return;
    };
    let cases = cases();
    let mut problems = Vec::new();
    for case in &cases {
        let [theirs, ours] = [&pair.nginx, &pair.ours]
            .map(|side| normal(&ask(side, case, Duration::from_secs(4)), &side.who));
        // The one that is asked refuses what has no samples; since 1.23 they are sent without.
        let is_empty =
            theirs.starts_with("HTTP/1.1 500") && ours.contains("\\x00\\x00\\x00\\x08mdat");
        if theirs != ours && !is_empty {
            let (theirs, ours) = (&theirs, &ours);
            problems.push(describe(&Difference { case, theirs, ours }));
        }
    }
    let text = problems.iter().take(10).cloned().collect::<Vec<_>>();
    let (count, text) = (problems.len(), text.join("\n"));
    assert!(count == 0, "{count} of {}\n{text}", cases.len());
    let theirs = log(&pair, "nginx");
    until("as many lines", || {
        log(&pair, "revolve").len() >= theirs.len()
    });
    assert_eq!(theirs, log(&pair, "revolve"));
}

#[test]
fn a_location_answers_with_videos_alone() {
    let lines = r#"
        server {
            listen 127.0.0.1:PORT; server_name videos.example; root ROOT/html;
            location /a/ { mp4; }
            location / { mp4; location ~ \.css$ { } }
        }
    "#;
    let paths = [
        "/a/",
        "/a",
        "/page.css?start=1",
        "/small.txt",
        "/small.txt?start=1",
        "/none?start=1",
    ];
    compare_with(lines, |_| {
        paths
            .map(|path| get(path).host("videos.example").into())
            .into()
    });
}
