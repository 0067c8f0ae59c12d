//! From when until when a certificate is valid. Owner: [`super::files`]. Must not parse DER itself.

use std::time::{Duration, SystemTime};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};

/// RFC 5280 section 4.1.2.5, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// Of a certificate in DER. rustls has no question for this, but an answer: before anything else it compares the
    /// validity with the time, and at the end of all days every certificate has expired, at its beginning none is
    /// valid yet. The error tells the bound.
    ///
    /// # Errors
    /// If it cannot be parsed, or ends before it begins.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let nobody = RootCertStore::empty();
        let judge = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], time, &[]) {
                Err(Error::InvalidCertificate(judgement)) => Ok(judgement),
                Err(error) => Err(error),
                Ok(()) => Err(Error::General("trusted by nobody, and yet trusted".into())),
            }
        };
        let not_after = match judge(u64::MAX)? {
            CertificateError::ExpiredContext { not_after, .. } => not_after.as_secs(),
            other => return Err(other.into()),
        };
        let not_before = match judge(0)? {
            CertificateError::NotValidYetContext { not_before, .. } => not_before.as_secs(),
            // Valid since 1970.
            _ => 0,
        };
        let time = |seconds| {
            SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(seconds))
                .ok_or_else(|| Error::General("its validity lies beyond this machine's time".into()))
        };
        Ok(Self { not_before: time(not_before)?, not_after: time(not_after)? })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["zigbee".into()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn seconds(time: SystemTime) -> u64 {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn both_ends_are_read() {
        for (from, to, expected) in [
            ((2020, 1, 2), (2030, 3, 4), (1_577_923_200, 1_898_812_800)),
            // From 2050 on another type of time is used (RFC 5280 section 4.1.2.5).
            ((1970, 1, 1), (2060, 1, 1), (0, 2_840_140_800)),
        ] {
            let der = certificate(|params| {
                params.not_before = date_time_ymd(from.0, from.1, from.2);
                params.not_after = date_time_ymd(to.0, to.1, to.2);
            });
            let valid = Validity::of(&der).unwrap();
            assert_eq!((seconds(valid.not_before), seconds(valid.not_after)), expected);
        }
    }

    /// What `openssl req -x509` makes is a CA's certificate.
    #[test]
    fn a_certificate_that_is_a_ca_at_once_has_a_validity_as_well() {
        let der = certificate(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(Validity::of(&der).is_ok());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(Validity::of(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])).is_err());
        assert!(Validity::of(&CertificateDer::from(Vec::new())).is_err());
        let der = certificate(|params| {
            params.not_before = date_time_ymd(2031, 1, 1);
            params.not_after = date_time_ymd(2030, 1, 1);
        });
        assert!(Validity::of(&der).is_err());
    }
}
