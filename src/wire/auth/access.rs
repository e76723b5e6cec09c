//! The credentials that a server takes, and which requests they let in. One value, made of settings and key
//! files; a reload makes another.

use std::hash::Hash;
use std::sync::Arc;

use crate::base::ban_list::BanList;
use crate::base::counters::RefusalReason;
use crate::base::listener::ListenerKind;
use crate::base::settings::UrlProfile;
use crate::wire::auth::application::ApplicationVerdict;
use crate::wire::auth::class_access::ClassAccess;
use crate::wire::auth::jwt::{JwtRules, is_jwt};
use crate::wire::auth::presented::{basic_password, bearer_token, presented_token};
use crate::wire::auth::signed_url::{SigningKey, check_signature, is_signed};
use crate::wire::auth::token_hash::TokenHash;
use crate::wire::auth::topic_grant::{TopicGrant, TopicUse};
use crate::wire::cors::Cors;
use crate::wire::guard;
use crate::wire::head::{Head, Method};
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::request::Request;
use crate::wire::subscription::SubscribeRequest;

/// A token that the operator has named.
#[derive(Clone, Debug)]
pub(crate) struct StaticToken {
    /// Its name, for reports.
    pub(crate) name: Arc<str>,
    /// Hash of its text.
    pub(crate) hash: TokenHash,
    /// Topics that it opens.
    pub(crate) grant: Arc<TopicGrant>,
}

/// All credentials of a server. Without any it lets in as its listeners do by themselves.
#[derive(Debug, Default)]
pub struct AccessRules {
    /// Tokens of the control listener; none of them: it is open to all who reach it.
    pub(crate) control_tokens: Vec<TokenHash>,
    /// Tokens of the public listener.
    pub(crate) tokens: Vec<StaticToken>,
    /// Tokens that somebody else issues.
    pub(crate) jwt: JwtRules,
    /// Keys that sign URLs.
    pub signing_keys: Vec<SigningKey>,
    /// Name of the cookie that may hold a token.
    pub(crate) cookie: Option<Box<[u8]>>,
    /// Topics that need a credential.
    pub classes: ClassAccess,
    /// Addresses and owners of credentials that are not served.
    pub bans: BanList,
    /// The application is asked about requests without a credential that is known here.
    pub asks_application: bool,
}

/// The fate of a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is let in, or refused.
    Decided(Result<Request, Problem>),
    /// The application is to be asked.
    Ask,
}

/// Why a request has no owner yet.
enum OwnerFault {
    Refused(RefusalReason),
    /// The application may know one.
    Unasked,
}

/// Kinds of credentials, with the facts by which a later reading knows them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    /// A token that the operator has named.
    Named(TokenHash),
    /// A token that somebody else has issued, for the subject that it names.
    Issued {
        /// Value of `sub`.
        subject: Option<Arc<str>>,
    },
    /// A signed URL.
    Url,
}

/// The owner of a credential that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialOwner {
    /// Name of the credential, for reports.
    pub(crate) name: Arc<str>,
    /// Kind of the credential.
    pub(crate) kind: CredentialKind,
    /// Topics that it opens.
    pub(crate) grant: Arc<TopicGrant>,
    /// Unix milliseconds in which it ends, if it does.
    pub(crate) ends_ms: Option<u64>,
}

/// The moment in which a request is judged, and the work that this costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AdmissionMoment {
    /// Unix milliseconds.
    pub(crate) wall_ms: u64,
    /// Work of verified signatures, in requests that cost as much.
    pub(crate) work: usize,
}

/// Paths that tell whether the server is well, and nothing else: probes have no credentials.
const OPEN_PATHS: [&[u8]; 2] = [b"/healthz", b"/readyz"];
/// The name of owners of signed URLs.
const URL_NAME: &str = "url";
/// Paths that publish.
const PUBLISH_PATHS: [&[u8]; 2] = [b"/publish", b"/publish/batch"];

impl CredentialOwner {
    /// The owner of a signed URL, which opens its own topics until it ends.
    pub(crate) fn of_url(ends_ms: u64) -> CredentialOwner {
        CredentialOwner {
            name: URL_NAME.into(),
            kind: CredentialKind::Url,
            grant: Arc::default(),
            ends_ms: Some(ends_ms),
        }
    }

    /// Returns the key under which the owner's rates are counted.
    pub(crate) fn rate_key(&self) -> impl Hash {
        match &self.kind {
            CredentialKind::Named(_) => ("token", &*self.name),
            CredentialKind::Issued { subject } => ("subject", subject.as_deref().unwrap_or_default()),
            CredentialKind::Url => ("url", ""),
        }
    }
}

impl AccessRules {
    /// Whether there is no credential at all, nothing that asks for one, and nobody is banned.
    pub(crate) fn is_empty(&self) -> bool {
        let asks = !self.control_tokens.is_empty() || self.takes_publishers() || self.classes.asks_anywhere();
        !asks && self.bans.is_empty()
    }

    /// Whether streams that were let in by earlier rules may have to end under these.
    pub(crate) fn revokes(&self, earlier: &AccessRules) -> bool {
        self.bans != earlier.bans || earlier.tokens.iter().any(|token| !self.has_token(token))
    }

    /// Whether the owner of a credential that was taken under earlier rules keeps its streams. A token does
    /// while it stands, with its grant; one of somebody else's, and a signed URL, until it ends.
    pub(crate) fn keeps(&self, owner: &CredentialOwner) -> bool {
        let CredentialOwner { name, kind, grant, .. } = owner;
        let stands = match kind {
            CredentialKind::Named(hash) => {
                self.has_token(&StaticToken { name: Arc::clone(name), hash: *hash, grant: Arc::clone(grant) })
            }
            CredentialKind::Issued { .. } | CredentialKind::Url => true,
        };
        stands && !self.bans_owner(owner)
    }

    fn has_token(&self, token: &StaticToken) -> bool {
        let StaticToken { name, hash, grant } = token;
        self.tokens.iter().any(|own| own.name == *name && own.hash == *hash && own.grant == *grant)
    }

    fn bans_owner(&self, owner: &CredentialOwner) -> bool {
        match &owner.kind {
            CredentialKind::Named(_) => self.bans.bans_token(&owner.name),
            CredentialKind::Issued { subject } => {
                subject.as_deref().is_some_and(|subject| self.bans.bans_subject(subject))
            }
            CredentialKind::Url => false,
        }
    }

    /// Whether some credential can let a publisher in on the public listener.
    pub(crate) fn takes_publishers(&self) -> bool {
        !self.tokens.is_empty() || !self.jwt.keys.is_empty() || self.asks_application
    }

    /// Lets a request in that was understood as `asked`, or refuses it, unless the application has to say so.
    /// `verdict` is its word, once it was asked. A request without a credential learns nothing about what it
    /// has asked for.
    pub(crate) fn admit(
        &self,
        policy: &ListenerPolicy,
        head: &Head<'_>,
        asked: Result<Request, Problem>,
        verdict: Option<&ApplicationVerdict>,
        moment: &mut AdmissionMoment,
    ) -> Admission {
        // Pages of other sites are refused first, whatever a browser adds to their requests.
        if let Err(Problem::Refused(RefusalReason::Host | RefusalReason::Origin)) = &asked {
            return Admission::Decided(asked);
        }
        match policy.listener {
            ListenerKind::Control if !OPEN_PATHS.contains(&head.path) => {
                let checked = self.check_control(head).map_err(Problem::Refused);
                Admission::Decided(checked.and(asked))
            }
            ListenerKind::Public if policy.profile == UrlProfile::Standard => {
                match self.admit_public(policy, head, asked, verdict, moment) {
                    Ok(asked) => Admission::Decided(asked),
                    Err(OwnerFault::Refused(why)) => Admission::Decided(Err(Problem::Refused(why))),
                    Err(OwnerFault::Unasked) => Admission::Ask,
                }
            }
            ListenerKind::Control | ListenerKind::Public | ListenerKind::Metrics => Admission::Decided(asked),
        }
    }

    fn check_control(&self, head: &Head<'_>) -> Result<(), RefusalReason> {
        if self.control_tokens.is_empty() {
            return Ok(());
        }
        let presented = match bearer_token(head) {
            Some(token) => TokenHash::of(token),
            None => {
                let password = basic_password(head).ok_or(RefusalReason::ControlTokenMissing)?;
                TokenHash::of(&password)
            }
        };
        // All are compared, so that the time tells no place in the list.
        let found = self.control_tokens.iter().filter(|token| token.matches(&presented)).count();
        if found > 0 { Ok(()) } else { Err(RefusalReason::ControlTokenUnknown) }
    }

    fn admit_public(
        &self,
        policy: &ListenerPolicy,
        head: &Head<'_>,
        mut asked: Result<Request, Problem>,
        verdict: Option<&ApplicationVerdict>,
        moment: &mut AdmissionMoment,
    ) -> Result<Result<Request, Problem>, OwnerFault> {
        if policy.takes_publishers && head.method == Method::Post && PUBLISH_PATHS.contains(&head.path) {
            let owner = self.check_publisher(policy, head, verdict, moment)?;
            return Ok(asked.and_then(|request| grant_publish(request, owner).map_err(Problem::Refused)));
        }
        if let Ok(Request::Subscribe(subscribe) | Request::SubscribeHead(subscribe)) = &mut asked {
            subscribe.access = self.check_subscriber(head, subscribe, verdict, moment)?;
        }
        Ok(asked)
    }

    fn check_publisher(
        &self,
        policy: &ListenerPolicy,
        head: &Head<'_>,
        verdict: Option<&ApplicationVerdict>,
        moment: &mut AdmissionMoment,
    ) -> Result<CredentialOwner, OwnerFault> {
        let presented = presented_token(head, self.cookie.as_deref());
        // The application may go by any cookie.
        let any_cookie = self.asks_application && head.fields.cookie.lines().next().is_some();
        let by_cookie = presented.map_or(any_cookie, |presented| presented.is_cookie);
        // A browser adds a cookie to requests of any page, so the page must be one that may act here.
        if by_cookie && !is_own_page(head, &policy.cors) {
            return Err(OwnerFault::Refused(RefusalReason::Origin));
        }
        let presented = presented.ok_or(RefusalReason::TokenMissing);
        let own = presented.and_then(|presented| self.find_owner(presented.token, moment));
        self.own_or_asked(own, verdict)
    }

    /// Returns the owner of the credential that the subscriber has needed, if it has needed one.
    fn check_subscriber(
        &self,
        head: &Head<'_>,
        subscribe: &SubscribeRequest,
        verdict: Option<&ApplicationVerdict>,
        moment: &mut AdmissionMoment,
    ) -> Result<Option<CredentialOwner>, OwnerFault> {
        // All fields are named, so that a new way to choose topics does not pass unseen.
        let SubscribeRequest {
            topics,
            patterns,
            events: _,
            start: _,
            clock: _,
            buffered: _,
            form: _,
            event_source: _,
            prime: _,
            wait_ms: _,
            access: _,
            snapshot: _,
        } = subscribe;
        let mut asking =
            topics.iter().map(|topic| &**topic).filter(|topic| self.classes.asks_for(topic)).peekable();
        let mut asking_patterns =
            patterns.iter().filter(|pattern| self.classes.asks_for_some(pattern)).peekable();
        if asking.peek().is_none() && asking_patterns.peek().is_none() {
            return Ok(None);
        }
        let own = match presented_token(head, self.cookie.as_deref()) {
            Some(presented) => self.find_owner(presented.token, moment),
            None if is_signed(head.query) && !self.signing_keys.is_empty() => {
                let ends_ms = check_signature(head.path, head.query, &self.signing_keys, moment.wall_ms);
                ends_ms.map(CredentialOwner::of_url)
            }
            None => Err(RefusalReason::TokenMissing),
        };
        let owner = self.own_or_asked(own, verdict)?;
        // A signature is for the whole URL, so for all of its topics.
        let opens = owner.kind == CredentialKind::Url
            || owner.grant.opens(TopicUse::Subscribe, asking)
                && owner.grant.opens_all(TopicUse::Subscribe, asking_patterns);
        if opens { Ok(Some(owner)) } else { Err(OwnerFault::Refused(RefusalReason::NotGranted)) }
    }

    /// Returns the owner of a credential that is known here, else the one that the application names.
    fn own_or_asked(
        &self,
        own: Result<CredentialOwner, RefusalReason>,
        verdict: Option<&ApplicationVerdict>,
    ) -> Result<CredentialOwner, OwnerFault> {
        match (own, verdict) {
            (Err(why), None) if self.leaves_to_application(why) => Err(OwnerFault::Unasked),
            (Err(why), Some(verdict)) if self.leaves_to_application(why) => match verdict {
                Ok(owner) if self.bans_owner(owner) => Err(OwnerFault::Refused(RefusalReason::TokenBanned)),
                Ok(owner) => Ok(owner.clone()),
                Err(why) => Err(OwnerFault::Refused(*why)),
            },
            (own, _) => own.map_err(OwnerFault::Refused),
        }
    }

    /// Whether the application decides about a credential that is not taken here for this reason.
    pub(crate) fn leaves_to_application(&self, why: RefusalReason) -> bool {
        self.asks_application && matches!(why, RefusalReason::TokenMissing | RefusalReason::TokenUnknown)
    }

    /// Returns the owner of a token.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) fn find_owner(
        &self,
        token: &[u8],
        moment: &mut AdmissionMoment,
    ) -> Result<CredentialOwner, RefusalReason> {
        let owner = self.identify_owner(token, moment)?;
        if self.bans_owner(&owner) { Err(RefusalReason::TokenBanned) } else { Ok(owner) }
    }

    fn identify_owner<'a>(
        &'a self,
        token: &[u8],
        moment: &mut AdmissionMoment,
    ) -> Result<CredentialOwner, RefusalReason> {
        let hash = TokenHash::of(token);
        // All are compared, so that the time tells no place in the list.
        let matching = |found: Option<&'a StaticToken>, known: &'a StaticToken| {
            if known.hash.matches(&hash) { found.or(Some(known)) } else { found }
        };
        match self.tokens.iter().fold(None, matching) {
            Some(StaticToken { name, hash, grant }) => Ok(CredentialOwner {
                name: Arc::clone(name),
                kind: CredentialKind::Named(*hash),
                grant: Arc::clone(grant),
                ends_ms: None,
            }),
            None if is_jwt(token) => self.jwt.find_owner(token, moment.wall_ms, &mut moment.work),
            None => Err(RefusalReason::TokenUnknown),
        }
    }
}

/// Whether a browser's request comes from a page of this host, or of a listed origin. Without the fields it
/// comes from no page.
fn is_own_page(head: &Head<'_>, cors: &Cors) -> bool {
    let own_host = |origin| guard::is_same_host(origin, head.fields.host.unwrap_or_default());
    match head.fields.origin {
        Some(origin) => own_host(origin) || cors.lists(origin),
        None => head.fields.fetch_site.is_none_or(|site| matches!(site, b"same-origin" | b"none")),
    }
}

/// Holds a publish against a grant. The topics of a batch are known when its body has come.
fn grant_publish(request: Request, owner: CredentialOwner) -> Result<Request, RefusalReason> {
    match request {
        Request::Publish(mut publish) => {
            let topics = publish.topics.iter().map(|topic| &**topic);
            if !owner.grant.opens(TopicUse::Publish, topics) {
                return Err(RefusalReason::NotGranted);
            }
            publish.publisher = Some(owner);
            Ok(Request::Publish(publish))
        }
        Request::Batch(mut batch) => {
            batch.publisher = Some(owner);
            Ok(Request::Batch(batch))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests;
