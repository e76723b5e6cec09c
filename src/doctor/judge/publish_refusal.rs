//! Reasons that the doctor could not publish to the stream that it probes, each with a remedy. Words only.

/// An address of a control listener, as an example in remedies.
const EXAMPLE: &str = "--publish-url http://127.0.0.1:8081 (or http://127.0.0.1:8081/publish)";

/// The reason that nothing could be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublishObstacle {
    /// The server allows only certain topics, which other clients read.
    OwnTopicRefused,
    /// The event was published, but not on the node that serves the stream.
    AnotherServer {
        /// The request, without its query.
        asked: String,
    },
    /// No answer came.
    Unanswered {
        /// The request, without its query.
        asked: String,
        /// The error, in words.
        error: String,
    },
    /// The server refused the publish.
    Refused {
        /// The request, without its query.
        asked: String,
        /// The status of the answer.
        status: u16,
        /// The reason in the answer.
        words: String,
    },
    /// The answer was a success without an id.
    NoId {
        /// The request, without its query.
        asked: String,
    },
}

impl PublishObstacle {
    /// Returns the request and its answer, in words.
    pub(crate) fn reason(&self) -> String {
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

    /// Returns the flags to write instead.
    pub(crate) fn remedy(&self) -> String {
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
