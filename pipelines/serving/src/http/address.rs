//! Where a request comes from, as far as that can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::network::network;

/// The other end of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What a proxy adds the address to that it was asked from.
const FORWARDED: &str = "x-forwarded-for";

/// The other end of the connection; what came by none of ours is all from one place.
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<Peer>().map(|peer| peer.0);
    network(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Where a proxy says that a request comes from. That is the last address: those before it anybody may have written.
pub(super) fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let all = headers.get_all(FORWARDED).iter().next_back()?.to_str().ok()?;
    let last = all.rsplit(',').next()?.trim();
    let with_port = || last.parse::<SocketAddr>().map(|address| address.ip());
    last.parse::<IpAddr>().or_else(|_| with_port()).ok().map(network)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_address_is_what_the_proxy_has_seen() {
        let said = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for &line in lines {
                headers.append(FORWARDED, HeaderValue::from_static(line));
            }
            forwarded(&headers).map(|address| address.to_string())
        };
        let cases: [(&[&'static str], Option<&str>); 9] = [
            (&["203.0.113.7"], Some("203.0.113.7")),
            (&["1.2.3.4, 203.0.113.7"], Some("203.0.113.7")),
            (&["1.2.3.4", "5.6.7.8,203.0.113.7:4711 "], Some("203.0.113.7")),
            (&["2001:db8:1:2:3:4:5:6"], Some("2001:db8:1:2::")),
            (&["[2001:db8:1:2::9]:80"], Some("2001:db8:1:2::")),
            (&["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (&["203.0.113.7, unknown"], None),
            (&[""], None),
            (&[], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(said(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
