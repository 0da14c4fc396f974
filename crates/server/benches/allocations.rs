//! How many heap allocations a request costs in the steady state.
//!
//! ```sh
//! cargo bench -p revolve-server --bench allocations
//! ```
//!
//! A client in a thread of its own asks for the same thing again and again on one kept
//! connection; what the loop's thread allocates meanwhile is counted. The program ends with 1
//! where a file out of the cache, the law of speed's own case, allocates at all, with and without
//! a line in a log.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::AllocationInfo;
use revolve_conf::{Snapshot, SnapshotFiles};
use revolve_reactor::{EventLoop, Stream};
use revolve_server::{Config, Descriptors, Prefix, Worker, load, log};

/// Requests that are counted; as many as make a single allocation a second visible.
const REQUESTS: u64 = 20_000;

/// Requests before them, which pay for pools, caches and buffers.
const WARM_UP_REQUESTS: u64 = 500;

/// A client that hears nothing for so long gives up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What is asked for, and what is expected.
struct Case {
    name: &'static str,
    path: &'static str,
    /// Whether the client says that it has the file already.
    conditional: bool,
    status: &'static str,
    /// Whether an allocation is a failure.
    is_law: bool,
}

const fn case(name: &'static str, path: &'static str, status: &'static str) -> Case {
    Case {
        name,
        path,
        conditional: false,
        status,
        is_law: false,
    }
}

const CASES: &[Case] = &[
    Case {
        is_law: true,
        ..case("cached file of 1 KiB", "/1k.txt", "200")
    },
    Case {
        is_law: true,
        ..case("the same, access_log on", "/logged/1k.txt", "200")
    },
    Case {
        is_law: true,
        ..case("the same, expires, add_header", "/headers/1k.txt", "200")
    },
    // Waiting for `flush` allocates, once a second and not once a request.
    case("the same, buffered", "/buffered/1k.txt", "200"),
    case("the same, buffered, gzip", "/compressed/1k.txt", "200"),
    case("the same, by path, kept open", "/by_path/1k.txt", "200"),
    case("return 200", "/return", "200"),
    case("return 301", "/moved", "301"),
    case("index of a folder", "/folder/", "200"),
    case("try_files, then index", "/try/folder/", "200"),
    case("redirect to a folder", "/folder", "301"),
    Case {
        conditional: true,
        ..case("not modified", "/1k.txt", "304")
    },
    case("not found", "/quiet/nothing", "404"),
    case("not found, and logged", "/nothing", "404"),
    case("not found, with error_page", "/page/nothing", "404"),
    case("10 MiB by sendfile", "/10m.bin", "200"),
];

const CONFIG: &str = r#"
daemon off;
events { worker_connections 64; }
error_log error.log;
http {
    access_log off;
    keepalive_requests 1000000;
    server {
        listen 127.0.0.1:8080;
        root site;
        location /logged/ { alias site/; access_log access.log; }
        location /headers/ {
            alias site/;
            access_log access.log;
            expires 30d;
            add_header X-Content-Type-Options nosniff;
            add_header X-Host $host;
        }
        location /buffered/ { alias site/; access_log buffered.log combined buffer=16k flush=1s; }
        location /compressed/ { alias site/; access_log compressed.log combined gzip; }
        location /by_path/ {
            alias site/;
            access_log $server_port.log;
            open_log_file_cache max=8;
        }
        location = /return { return 200 "ok\n"; }
        location = /moved { return 301 /1k.txt; }
        location /try/ { alias site/; try_files $uri $uri/ =404; }
        location /quiet/ { log_not_found off; }
        location /page/ { log_not_found off; error_page 404 /1k.txt; }
    }
    # Hosts are told apart, as on most machines.
    server {
        listen 127.0.0.1:8080;
        server_name other.example *.wild.example www.* ~^v\d+\.example$;
        root site;
    }
}
"#;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = config(folder.path())?;
    // The kernel chooses the port: the server takes any socket for the one that it is to have.
    let socket = TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let mut descriptors = Descriptors::default();
    let spec = config.listens().next().ok_or("nothing to listen on")?;
    descriptors.listeners.push((spec.id.clone(), socket.into()));
    for path in config.log_paths() {
        let file = log::file::open(path)?;
        descriptors.logs.push((path.clone(), file.into()));
    }

    let mut event_loop = EventLoop::new()?;
    let _worker = event_loop.block_on(async { Worker::start(config, descriptors) })?;
    println!("{:<30} {:>12} {:>12}", "", "allocations", "bytes");
    println!("{:<30} {:>12} {:>12}", "", "per request", "per request");
    let mut kept = true;
    for case in CASES {
        let requests = if case.path.ends_with(".bin") {
            REQUESTS / 100
        } else {
            REQUESTS
        };
        let info = measure(&mut event_loop, address, case, requests)?;
        let per_request = |total: u64| total as f64 / requests as f64;
        println!(
            "{:<30} {:>12.4} {:>12.1}",
            case.name,
            per_request(info.count_total),
            per_request(info.bytes_total)
        );
        kept &= !case.is_law || info.count_total == 0;
    }
    if kept {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("a file out of the cache must not cost an allocation");
    Ok(ExitCode::FAILURE)
}

fn config(folder: &Path) -> Result<Arc<Config>, Box<dyn Error>> {
    let site = folder.join("site");
    fs::create_dir_all(site.join("folder"))?;
    fs::write(site.join("1k.txt"), [b'x'; 1024])?;
    fs::write(site.join("10m.bin"), vec![b'x'; 10 << 20])?;
    fs::write(site.join("folder/index.html"), [b'x'; 1024])?;
    let main = folder.join("revolve.conf");
    let mut snapshot = Snapshot::default();
    snapshot.insert_file(&main, CONFIG.as_bytes().to_vec());
    let prefix = Prefix {
        prefix: folder.to_owned(),
        error_log: log::file::STDERR.into(),
        access_log: None,
    };
    let mut files = SnapshotFiles::new(snapshot);
    let (config, sources, diagnostics) = load(&main, &prefix, None, &mut files);
    config.ok_or_else(|| diagnostics.render(&sources, "allocations", false).into())
}

/// Turns the loop while a client asks, and counts what the loop's thread allocates once it is
/// warm.
fn measure(
    event_loop: &mut EventLoop,
    address: SocketAddr,
    case: &'static Case,
    requests: u64,
) -> Result<AllocationInfo, Box<dyn Error>> {
    let (signal, client_signal) = UnixStream::pair()?;
    signal.set_nonblocking(true)?;
    let client = std::thread::spawn(move || ask(address, case, requests, client_signal));
    let signal = event_loop.block_on(async { Stream::from_fd(signal.into()) })?;
    event_loop.block_on(signal.recv())?;
    // What waiting for a future allocates by itself is none of the server's.
    let own = allocation_counter::measure(|| event_loop.block_on(async {}));
    let mut end = None;
    let mut info = allocation_counter::measure(|| end = Some(event_loop.block_on(signal.recv())));
    info.count_total -= own.count_total;
    info.bytes_total -= own.bytes_total;
    drop(end);
    client
        .join()
        .map_err(|_| "the client panicked")?
        .map_err(|error| format!("{}: {error}", case.name))?;
    Ok(info)
}

/// The client: warms the server up, gives a signal, asks, and gives another. The end of its
/// stream is a signal too, so that an error here does not leave the loop waiting.
fn ask(address: SocketAddr, case: &Case, requests: u64, mut signal: UnixStream) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let plain = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", case.path);
    let mut answer = vec![0; 11 << 20];
    let mut request = plain.clone();
    if case.conditional {
        let head_bytes = first_answer(&mut stream, &plain, &mut answer)?.0;
        let head = String::from_utf8_lossy(&answer[..head_bytes]);
        let etag = head
            .lines()
            .find_map(|line| line.strip_prefix("ETag: "))
            .ok_or_else(|| io::Error::other("no ETag"))?;
        request = plain.replace("\r\n\r\n", &format!("\r\nIf-None-Match: {etag}\r\n\r\n"));
    }
    let (_, answer_bytes) = first_answer(&mut stream, &request, &mut answer)?;
    if &answer[9..12] != case.status.as_bytes() {
        let status = String::from_utf8_lossy(&answer[..12]);
        return Err(io::Error::other(format!("{status} is not expected")));
    }
    let mut exchange = || {
        stream.write_all(request.as_bytes())?;
        stream.read_exact(&mut answer[..answer_bytes])
    };
    for _ in 0..WARM_UP_REQUESTS.min(requests) {
        exchange()?;
    }
    signal.write_all(b"1")?;
    for _ in 0..requests {
        exchange()?;
    }
    signal.write_all(b"2")
}

/// The length of an answer's head, and of the whole: those that follow are as long.
fn first_answer(
    stream: &mut TcpStream,
    request: &str,
    answer: &mut [u8],
) -> io::Result<(usize, usize)> {
    stream.write_all(request.as_bytes())?;
    let mut filled = 0;
    let head_bytes = loop {
        let read = stream.read(&mut answer[filled..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let end = answer[..filled]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&answer[..head_bytes]);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let body_bytes: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    let whole = head_bytes + body_bytes;
    stream.read_exact(&mut answer[filled..whole])?;
    Ok((head_bytes, whole))
}
