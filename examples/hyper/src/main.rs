//! A server of hyper's on the reactor's loops.
//!
//! ```text
//! cargo run --release --manifest-path examples/hyper/Cargo.toml -- [ADDRESS] [http1|http2] [LOOPS]
//! ```
//!
//! `GET /` says hello, and `POST /echo` gives the body back, up to a mebibyte. With `http2` a client
//! must know beforehand: `curl --http2-prior-knowledge`.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use revolve_hyper::{LoopExecutor, LoopIo, LoopTimer};
use revolve_reactor::{Address, Stream, TcpServer};

const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(2);

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let say = |status: StatusCode, body: Bytes| {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok(response)
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => say(StatusCode::OK, "hello, world\n".into()),
        (&Method::POST, "/echo") => {
            let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
            match body.collect().await {
                Ok(body) => say(StatusCode::OK, body.to_bytes()),
                Err(error) => say(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n").into()),
            }
        }
        _ => say(StatusCode::NOT_FOUND, "not found\n".into()),
    }
}

async fn serve(stream: Stream, is_http2: bool) -> Result<(), hyper::Error> {
    let io = LoopIo::new(stream);
    if is_http2 {
        let mut http = http2::Builder::new(LoopExecutor);
        http.timer(LoopTimer);
        return http.serve_connection(io, service_fn(answer)).await;
    }
    let mut http = http1::Builder::new();
    http.timer(LoopTimer).header_read_timeout(HEAD_MAX);
    http.serve_connection(io, service_fn(answer)).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let address: SocketAddr = address.parse()?;
    let is_http2 = match arguments.next().as_deref() {
        None | Some("http1") => false,
        Some("http2") => true,
        Some(_) => return Err("usage: revolve-hyper [ADDRESS] [http1|http2] [LOOPS]".into()),
    };
    let loops = arguments.next().map_or(Ok(1), |loops| loops.parse())?;
    let server = TcpServer::builder().bind(address).loops(loops).serve(
        move |stream: Stream, peer: Address| async move {
            let _ = stream.set_nodelay(true);
            if let Err(error) = serve(stream, is_http2).await {
                eprintln!("{peer}: {error}");
            }
        },
    )?;
    println!("listening on {}", server.addresses()[0]);
    Ok(server.join()?)
}
