//! Server-sent events with axum in its usual good form: a broadcast channel for each topic, whose events are
//! encoded once and streamed as the body of each client, on one thread; one timer sends all heartbeats. A
//! client that falls behind by a whole channel is let go.
//!
//! Usage: `peer-axum PORT`; environment: `HEARTBEAT_MS` (0 = none).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::Deserialize;
use tokio::net::TcpSocket;
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

/// Events that may wait for the slowest client of a topic, more than the load keeps in flight.
const WAITING_MAX: usize = 128;

#[derive(Default)]
struct App {
    topics: Mutex<HashMap<String, Sender<Bytes>>>,
}

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

impl App {
    fn sender(&self, topic: String) -> Sender<Bytes> {
        let mut topics = self.topics.lock().expect("no holder of this lock panics");
        topics.entry(topic).or_insert_with(|| broadcast::channel(WAITING_MAX).0).clone()
    }

    async fn beat(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let topics = self.topics.lock().expect("no holder of this lock panics");
            topics.values().for_each(|sender| drop(sender.send(Bytes::from_static(b":\n"))));
        }
    }
}

async fn subscribe(State(app): State<Arc<App>>, Query(Topic { topic }): Query<Topic>) -> impl IntoResponse {
    let greeting = tokio_stream::once(Bytes::from_static(b":ok\n\n"));
    let events = BroadcastStream::new(app.sender(topic).subscribe()).map_while(Result::ok);
    let body = Body::from_stream(greeting.chain(events).map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], body)
}

async fn publish(
    State(app): State<Arc<App>>,
    Query(Topic { topic }): Query<Topic>,
    body: String,
) -> StatusCode {
    // Without subscribers there is nobody to send to, which is no error here.
    drop(app.sender(topic).send(Bytes::from(format!("data: {body}\n\n"))));
    StatusCode::ACCEPTED
}

async fn serve(port: u16) -> std::io::Result<()> {
    let app = Arc::new(App::default());
    let heartbeat_ms = std::env::var("HEARTBEAT_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if heartbeat_ms > 0 {
        let app = app.clone();
        tokio::spawn(async move { app.beat(Duration::from_millis(heartbeat_ms)).await });
    }
    let router =
        Router::new().route("/events", get(subscribe)).route("/publish", post(publish)).with_state(app);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(65_535)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("usage: peer-axum PORT");
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port))
}
