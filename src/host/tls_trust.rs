//! The servers that a client over TLS trusts, and why it does not trust one, in words. Opens no connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::base::logfmt::shown;
use crate::host::ca_bundle;

/// The port of `https` addresses that name none.
pub(crate) const HTTPS_PORT: u16 = 443;

/// The certificates to trust.
#[derive(Clone, Debug)]
pub(crate) struct TlsTrust(Arc<TrustVerifier>);

/// Verifies certificates as browsers do, but trusts each certificate of `--ca-file` as it is, so that a
/// self-signed one can be tested. No other key passes for it, because signatures are always checked.
#[derive(Debug)]
struct TrustVerifier {
    authorities: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    /// Whether a peer had one of the named certificates.
    named_peer_seen: AtomicBool,
}

impl TlsTrust {
    /// Trusts the authorities, and the very certificates, of the file; without one the system's authorities.
    ///
    /// # Errors
    /// When there is no such file, or no certificate in it.
    pub(crate) fn new(file: Option<&str>) -> Result<TlsTrust, String> {
        let bundle = file.map_or_else(ca_bundle::file, |file| Ok(file.to_owned())).map_err(|_| {
            "this host has no file of trusted certificates; name one with --ca-file".to_owned()
        })?;
        let unreadable = |error: &dyn std::fmt::Display| {
            let bundle = shown(&bundle);
            format!(
                "cannot read trusted certificates from {bundle}: {error}; name a file with --ca-file or \
                 SSL_CERT_FILE"
            )
        };
        let mut store = RootCertStore::empty();
        let mut named = Vec::new();
        for certificate in CertificateDer::pem_file_iter(&bundle).map_err(|error| unreadable(&error))? {
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            if file.is_some() {
                named.push(certificate.clone());
            }
            // A bundle may hold one that this library does not understand; the others still serve.
            let _ = store.add(certificate);
        }
        if store.is_empty() {
            return Err(unreadable(&"there is none in it"));
        }
        let authorities = WebPkiServerVerifier::builder(Arc::new(store)).build();
        let authorities = authorities.map_err(|error| unreadable(&error))?;
        Ok(TlsTrust(Arc::new(TrustVerifier { authorities, named, named_peer_seen: AtomicBool::new(false) })))
    }

    /// Returns whether the peer was trusted only because its very certificate was named.
    pub(crate) fn trusted_by_name(&self) -> bool {
        self.0.named_peer_seen.load(Ordering::Relaxed)
    }

    /// Returns the configuration of sessions that offer these protocols.
    pub(crate) fn client_config(&self, protocols: &[&str]) -> ClientConfig {
        let judge: Arc<dyn ServerCertVerifier> = Arc::clone(&self.0) as Arc<dyn ServerCertVerifier>;
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(judge);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl ServerCertVerifier for TrustVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named == end_entity) {
            self.named_peer_seen.store(true, Ordering::Relaxed);
            return Ok(ServerCertVerified::assertion());
        }
        self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Describes an error of TLS, with its remedy; none for other errors.
pub(crate) fn describe_tls_error(error: &io::Error, host: &str, port: u16) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(why) => {
            let why = match why {
                // The latter: an authority of the same name has another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "no authority that is trusted here has signed it".to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it is too old".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("it is not for {host}")
                }
                CertificateError::Other(_) => "it is self-signed, or not for servers".to_owned(),
                other => format!("{other:?}"),
            };
            format!(
                "the certificate of {host}:{port} is not trusted: {why}; browsers refuse it too. To trust it \
                 here name it, or its authority, with --ca-file FILE; `openssl s_client -connect \
                 {host}:{port} </dev/null | openssl x509 >FILE` writes it down"
            )
        }
        Error::InvalidMessage(_) => {
            format!("what {host}:{port} says is no TLS: is it http:// rather than https://?")
        }
        other => format!("no TLS with {host}:{port}: {other}"),
    })
}
