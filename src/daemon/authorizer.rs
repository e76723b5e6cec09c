//! Asks the application about requests: threads outside of the workers, so that no stream ever waits for it.
//!
//! Owns the form of a question as an HTTP request: a GET with the client's cookies and `Authorization`, and
//! the client's method and URL in `X-Forwarded-Method` and `X-Forwarded-Uri`. What an answer means is
//! decided in `wire::auth::application`.

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{error, warn};
use ureq::Agent;
use ureq::http::HeaderValue;

use crate::base::limits::{AUTHORIZE_MS, KIB};
use crate::base::logfmt::LogValue;
use crate::base::webhook_url::mask_url;
use crate::fanout::application_desk::OpenQuestion;
use crate::fanout::node::Node;
use crate::host::outbound::outbound_agent;
use crate::reactor::{Clock, Wakers};
use crate::wire::auth::application::{ApplicationAnswer, ApplicationQuestion};

/// Questions that are asked at the same time.
const QUESTIONS_AT_ONCE: usize = 16;
/// Bytes of an answer's body.
const ANSWER_BODY_BYTES_MAX: u64 = 16 * KIB as u64;

/// Everything that a thread needs to ask.
#[derive(Clone, Debug)]
struct ApplicationCaller {
    url: Arc<str>,
    agent: Agent,
    node: Arc<Node>,
    clock: Clock,
    wakers: Wakers,
}

/// Starts the threads that ask the application at an address; none for an empty one. Call it when the workers
/// have their own file tables.
pub(crate) fn start_authorizer(url: &str, node: &Arc<Node>, clock: Clock, wakers: &Wakers) {
    if url.is_empty() {
        return;
    }
    let agent = outbound_agent(url, Duration::from_millis(AUTHORIZE_MS), QUESTIONS_AT_ONCE);
    let (node, wakers) = (Arc::clone(node), wakers.clone());
    let caller = ApplicationCaller { url: url.into(), agent, node, clock, wakers };
    for _ in 0..QUESTIONS_AT_ONCE {
        let caller = caller.clone();
        let started = thread::Builder::new().name("authorize".to_owned()).spawn(move || caller.run());
        if let Err(error) = started {
            error!("event=authorize_thread_failed error=\"{error}\"");
        }
    }
}

impl ApplicationCaller {
    fn run(self) {
        for open in self.node.questions() {
            let late = self.clock.now().mono_ms >= open.due_ms;
            let answer = if late { ApplicationAnswer::failed() } else { self.ask(&open) };
            let sleepers = self.node.settle_question(&open, answer, self.clock.now());
            self.wakers.wake(sleepers);
        }
    }

    fn ask(&self, open: &OpenQuestion) -> ApplicationAnswer {
        self.try_ask(&open.question).unwrap_or_else(|why| {
            let (host, why) = (mask_url(&self.url), why.replace(&*self.url, &mask_url(&self.url)));
            warn!("event=authorize_failed host={} error={}", LogValue(&host), LogValue(&why));
            ApplicationAnswer::failed()
        })
    }

    fn try_ask(&self, question: &ApplicationQuestion) -> Result<ApplicationAnswer, String> {
        let mut request = self.agent.get(&*self.url);
        request = request.header("X-Forwarded-Method", question.method).header("Accept", "application/json");
        let ApplicationQuestion { target, cookie, authorization, .. } = question;
        for (name, value) in [
            ("X-Forwarded-Uri", Some(target)),
            ("Cookie", cookie.as_ref()),
            ("Authorization", authorization.as_ref()),
        ] {
            let Some(value) = value else { continue };
            let mut value = HeaderValue::from_bytes(value).map_err(|_| format!("{name} cannot be sent"))?;
            // Nor may the client that sends it show it anywhere.
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let mut answer = request.call().map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let cache_control = answer.headers().get("cache-control").and_then(|value| value.to_str().ok());
        let cache_control = cache_control.unwrap_or_default().to_owned();
        let mut body = Vec::new();
        let read = answer.body_mut().as_reader().take(ANSWER_BODY_BYTES_MAX + 1).read_to_end(&mut body);
        read.map_err(|error| error.to_string())?;
        if body.len() as u64 > ANSWER_BODY_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BODY_BYTES_MAX} bytes"));
        }
        if status >= 500 {
            warn!(
                "event=authorize_failed host={} error=\"answered {status}\"",
                LogValue(&mask_url(&self.url))
            );
        }
        Ok(ApplicationAnswer::read(status, &cache_control, &body, self.clock.now().wall_ms))
    }
}
