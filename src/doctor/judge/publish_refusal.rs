//! Why the doctor could not publish to the stream that it looks at, and what to write instead. Words only.

/// Where a control listener is told to listen, for those who named something else.
const EXAMPLE: &str = "--publish-url http://127.0.0.1:8081 (or http://127.0.0.1:8081/publish)";

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishObstacle {
    /// The stream is only for certain topics, and others read along on those.
    OwnTopicRefused,
    /// It was published, but not on the node that serves the stream.
    AnotherServer {
        /// The request, without its query.
        asked: String,
    },
    /// No answer came.
    Unanswered {
        /// The request, without its query.
        asked: String,
        /// The error's words.
        error: String,
    },
    /// An answer came that is no yes.
    Refused {
        /// The request, without its query.
        asked: String,
        /// Its status.
        status: u16,
        /// The words of the one who refused.
        words: String,
    },
    /// A yes without the id that this server gives.
    NoId {
        /// The request, without its query.
        asked: String,
    },
}

impl PublishObstacle {
    /// What was asked and what was answered.
    pub fn reason(&self) -> String {
        match self {
            PublishObstacle::OwnTopicRefused => "the server refuses a topic of the doctor's own".to_owned(),
            PublishObstacle::AnotherServer { asked } => format!(
                "{asked} was accepted, but the server there knows nothing of this stream: is it another one?"
            ),
            PublishObstacle::Unanswered { asked, error } => format!("{asked} was not answered: {error}"),
            PublishObstacle::Refused { asked, status, words } => {
                format!("{asked} was answered with {status}: {}", words.trim_end_matches('.'))
            }
            PublishObstacle::NoId { asked } => {
                format!("{asked} was answered without an id: is this fanwheel?")
            }
        }
    }

    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            PublishObstacle::OwnTopicRefused => {
                "--url with credentials for a topic of any name, on a server where nobody else is".to_owned()
            }
            PublishObstacle::AnotherServer { .. } => {
                "--publish-url with the control listener of the very server behind --url".to_owned()
            }
            PublishObstacle::Unanswered { .. } => format!(
                "{EXAMPLE}: the address in the server's setting `control`. That is loopback by default: run \
                 the doctor on the server's host, or first `ssh -L 8081:127.0.0.1:8081 HOST`"
            ),
            PublishObstacle::Refused { status: 401 | 407, .. } => format!(
                "{EXAMPLE}: the control listener itself wants no credentials; those of a proxy before it \
                 can only be given in the query of --publish-url"
            ),
            PublishObstacle::Refused { status: 403, .. } => format!(
                "{EXAMPLE}: the address in the server's setting `control`; the public listener, and a proxy \
                 in front of it, let nobody publish"
            ),
            PublishObstacle::Refused { status: 421, .. } => {
                format!("{EXAMPLE}, or add the name in --publish-url to the server's setting `control_names`")
            }
            PublishObstacle::Refused { status: 404 | 405, .. } | PublishObstacle::NoId { .. } => format!(
                "{EXAMPLE}: the address in the server's setting `control`; a path before /publish only where \
                 a proxy takes it away"
            ),
            PublishObstacle::Refused { status: 429 | 500.., .. } => {
                "try again later; if it stays so, ask the server itself rather than a proxy before it"
                    .to_owned()
            }
            PublishObstacle::Refused { .. } => {
                format!("{EXAMPLE}: the address in the server's setting `control`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_was_asked_and_each_remedy_what_to_write() {
        let asked = || "POST http://a/publish".to_owned();
        let refused = |status, words: &str| PublishObstacle::Refused {
            asked: asked(),
            status,
            words: words.to_owned(),
        };
        let rows = [
            (refused(404, "Nothing."), "was answered with 404: Nothing", "a path before /publish"),
            (refused(401, "Unauthorized"), "was answered with 401: Unauthorized", "wants no credentials"),
            (refused(403, "No"), "was answered with 403: No", "let nobody publish"),
            (refused(421, "Host"), "was answered with 421: Host", "control_names"),
            (refused(400, "Bad"), "was answered with 400: Bad", "setting `control`"),
            (refused(502, "Bad Gateway"), "was answered with 502: Bad Gateway", "try again later"),
            (
                PublishObstacle::Unanswered { asked: asked(), error: "Connection refused".to_owned() },
                "was not answered: Connection refused",
                "ssh -L",
            ),
            (PublishObstacle::NoId { asked: asked() }, "without an id", "http://127.0.0.1:8081/publish"),
            (PublishObstacle::AnotherServer { asked: asked() }, "is it another one?", "the very server"),
        ];
        for (cause, reason, remedy) in rows {
            let said = cause.reason();
            assert!(said.starts_with("POST http://a/publish ") && said.contains(reason), "{said}");
            assert!(cause.remedy().contains(remedy), "{cause:?}");
        }
    }
}
