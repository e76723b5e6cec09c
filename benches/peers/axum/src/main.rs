//! Server-sent events with axum in its usual form: a broadcast channel for each topic, `Sse` with `KeepAlive`
//! for each client, on one thread. A client that falls behind by a whole channel is let go.
//!
//! Usage: `peer-axum PORT`; environment: `HEARTBEAT_MS` (0 = none).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::Deserialize;
use tokio::net::TcpSocket;
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

/// Events that may wait for the slowest client of a topic, more than the load keeps in flight.
const WAITING_MAX: usize = 128;

struct App {
    topics: Mutex<HashMap<String, Sender<Event>>>,
    heartbeat: Option<Duration>,
}

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

impl App {
    fn sender(&self, topic: String) -> Sender<Event> {
        let mut topics = self.topics.lock().expect("no holder of this lock panics");
        topics.entry(topic).or_insert_with(|| broadcast::channel(WAITING_MAX).0).clone()
    }
}

async fn subscribe(State(app): State<Arc<App>>, Query(Topic { topic }): Query<Topic>) -> impl IntoResponse {
    let greeting = tokio_stream::once(Event::default().comment("ok"));
    let events = BroadcastStream::new(app.sender(topic).subscribe()).map_while(Result::ok);
    let sse = Sse::new(greeting.chain(events).map(Ok::<_, Infallible>));
    match app.heartbeat {
        Some(every) => sse.keep_alive(KeepAlive::new().interval(every)).into_response(),
        None => sse.into_response(),
    }
}

async fn publish(State(app): State<Arc<App>>, Query(Topic { topic }): Query<Topic>, body: String) -> StatusCode {
    // Without subscribers there is nobody to send to, which is no error here.
    let _ = app.sender(topic).send(Event::default().data(body));
    StatusCode::ACCEPTED
}

async fn serve(port: u16) -> std::io::Result<()> {
    let heartbeat_ms = std::env::var("HEARTBEAT_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let heartbeat = (heartbeat_ms > 0).then(|| Duration::from_millis(heartbeat_ms));
    let app = Arc::new(App { topics: Mutex::default(), heartbeat });
    let router = Router::new()
        .route("/events", get(subscribe))
        .route("/publish", post(publish))
        .with_state(app);
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
