//! Server-sent events with hyper as someone writes it who has profiled: one thread without locks, a body type
//! of its own for each client, an event encoded once, what waits for a client leaves as one chunk, and one
//! timer for all heartbeats.
//!
//! Usage: `peer-hyper PORT`; environment: `HEARTBEAT_MS` (0 = none).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::task::{LocalSet, spawn_local};

/// Events that may wait for one client before it is let go.
const WAITING_MAX: usize = 1_024;

/// One client: what waits for it, and the task that is to write it.
#[derive(Default)]
struct Client {
    place: Cell<usize>,
    waiting: RefCell<VecDeque<Bytes>>,
    waker: Cell<Option<Waker>>,
}

impl Client {
    fn push(&self, frame: Bytes) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() <= WAITING_MAX {
            waiting.push_back(frame);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

type Topic = Rc<RefCell<Vec<Rc<Client>>>>;

/// The topics by the query that names them.
type Topics = Rc<RefCell<HashMap<String, Topic>>>;

/// The body of an answer: a stream of events, or nothing.
struct Stream(Option<(Topic, Rc<Client>)>);

impl Body for Stream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some((_, client)) = &self.0 else { return Poll::Ready(None) };
        let mut waiting = client.waiting.borrow_mut();
        match waiting.len() {
            0 => {
                client.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            1 => Poll::Ready(waiting.pop_front().map(|frame| Ok(Frame::data(frame)))),
            more if more > WAITING_MAX => Poll::Ready(Some(Err("the client is too slow"))),
            _ => {
                let mut all = BytesMut::with_capacity(waiting.iter().map(Bytes::len).sum());
                waiting.drain(..).for_each(|frame| all.extend_from_slice(&frame));
                Poll::Ready(Some(Ok(Frame::data(all.freeze()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some((topic, client)) = &self.0 else { return };
        let mut clients = topic.borrow_mut();
        let place = client.place.get();
        clients.swap_remove(place);
        if let Some(moved) = clients.get(place) {
            moved.place.set(place);
        }
    }
}

fn subscribe(topic: Topic) -> Response<Stream> {
    let client = Rc::new(Client::default());
    client.push(Bytes::from_static(b":ok\n\n"));
    client.place.set(topic.borrow().len());
    topic.borrow_mut().push(client.clone());
    let mut response = Response::new(Stream(Some((topic, client))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn publish(topic: Topic, body: Incoming) -> Result<Response<Stream>, hyper::Error> {
    let body = body.collect().await?.to_bytes();
    let mut frame = BytesMut::with_capacity(body.len() + 8);
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(&body);
    frame.extend_from_slice(b"\n\n");
    let frame = frame.freeze();
    topic.borrow().iter().for_each(|client| client.push(frame.clone()));
    let mut response = Response::new(Stream(None));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

async fn answer(topics: Topics, request: Request<Incoming>) -> Result<Response<Stream>, hyper::Error> {
    let name = request.uri().query().unwrap_or("");
    let known = topics.borrow().get(name).cloned();
    let topic = known.unwrap_or_else(|| topics.borrow_mut().entry(name.to_owned()).or_default().clone());
    if request.method() == Method::POST {
        return publish(topic, request.into_body()).await;
    }
    Ok(subscribe(topic))
}

async fn beat(topics: Topics, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        for topic in topics.borrow().values() {
            topic.borrow().iter().for_each(|client| client.push(Bytes::from_static(b":\n")));
        }
    }
}

async fn serve(port: u16) -> std::io::Result<Infallible> {
    let topics = Topics::default();
    let heartbeat_ms = std::env::var("HEARTBEAT_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if heartbeat_ms > 0 {
        spawn_local(beat(topics.clone(), Duration::from_millis(heartbeat_ms)));
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(65_535)?;
    // Without `pipeline_flush`, which would also lift the bound on what is buffered for a slow client.
    let http = http1::Builder::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topics = topics.clone();
        let service = service_fn(move |request| answer(topics.clone(), request));
        // A connection that ends with an error is as good as one that ends.
        let connection = http.serve_connection(TokioIo::new(stream), service);
        spawn_local(async move { drop(connection.await) });
    }
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("usage: peer-hyper PORT");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(serve(port))).map(|never| match never {})
}
