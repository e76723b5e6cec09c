//! The parts of a request that shape every answer to it.

use crate::wire::head::{Head, Method};

/// The parts of a request that shape every answer to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyContext<'a> {
    /// The request was HTTP/1.1.
    pub(crate) http11: bool,
    /// The connection is to be kept.
    pub(crate) keep_alive: bool,
    /// The request was a `HEAD`.
    pub(crate) head_only: bool,
    /// Value of its `Origin` field.
    pub(crate) origin: Option<&'a [u8]>,
}

impl<'a> ReplyContext<'a> {
    /// The context of a request with this head.
    pub(crate) fn of(head: &Head<'a>) -> ReplyContext<'a> {
        ReplyContext {
            http11: head.http11,
            keep_alive: head.keep_alive && !head.has_body(),
            head_only: head.method == Method::Head,
            origin: head.fields.origin,
        }
    }

    /// Forgets the `Origin`, which is borrowed from the request.
    pub(crate) fn without_origin(self) -> ReplyContext<'static> {
        let ReplyContext { http11, keep_alive, head_only, origin: _ } = self;
        ReplyContext { http11, keep_alive, head_only, origin: None }
    }

    /// Context of a request of which nothing is known.
    pub(crate) const UNKNOWN: ReplyContext<'static> =
        ReplyContext { http11: true, keep_alive: false, head_only: false, origin: None };
}
