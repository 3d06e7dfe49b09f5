//! Outgoing HTTP of guests: denied unless the app's manifest lists the origin.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks, default_send_request};

/// A guest's timeouts for outgoing requests are cut to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Bytes a guest of 0.3 gives the host in one go, of whatever body: some wait on the host for whoever reads slowly.
const BODY_CHUNK_BYTES: usize = 128 << 10;

/// The origins one app may reach. Lower case, default ports left out.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub app: Arc<str>,
    pub allow: Vec<String>,
}

impl Outbound {
    fn allows(&self, origin: &str) -> bool {
        self.allow.iter().any(|allowed| without_default_port(allowed) == origin)
    }
}

/// One instance's view of its app's origins.
pub(crate) struct OutboundHooks(pub Arc<Outbound>);

type Connection = Box<dyn Future<Output = Result<()>> + Send>;
type Response = Result<(http::Response<WasiBody>, Connection)>;

impl WasiHttpHooks for OutboundHooks {
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_sent: Connection,
    ) -> Box<dyn Future<Output = Response> + Send> {
        let origin = origin_of(request.uri());
        if !self.0.allows(&origin) {
            tracing::warn!(
                target: "guest",
                app = &*self.0.app,
                "outgoing request to {origin} denied; to allow it, add \"{origin}\" to `allow` under [outbound] in the \
                 app's headland.app.toml"
            );
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let options = bounded(options);
        Box::new(async move {
            let (response, connection) = default_send_request(request, Some(options)).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::new(connection) as Connection))
        })
    }
}

fn bounded(options: Option<RequestOptions>) -> RequestOptions {
    let cut = |timeout: Option<Duration>| Some(timeout.map_or(TIMEOUT_MAX, |timeout| timeout.min(TIMEOUT_MAX)));
    let options = options.unwrap_or_default();
    RequestOptions {
        connect_timeout: cut(options.connect_timeout),
        first_byte_timeout: cut(options.first_byte_timeout),
        between_bytes_timeout: cut(options.between_bytes_timeout),
    }
}

/// `scheme://host[:port]` of a URI, as the allow list has it.
fn origin_of(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("https");
    // Not the whole authority: credentials before an `@` are neither compared nor logged.
    let host = uri.host().unwrap_or_default();
    let origin = match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    without_default_port(&origin.to_ascii_lowercase()).to_owned()
}

fn without_default_port(origin: &str) -> &str {
    let port = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(port).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_are_allowed() {
        let outbound =
            Outbound { app: "x".into(), allow: vec!["https://api.example.com".into(), "http://127.0.0.1:9000".into()] };
        for (uri, expected) in [
            ("https://api.example.com/v1?q=1", true),
            ("https://API.example.com:443/", true),
            ("http://127.0.0.1:9000/", true),
            ("http://api.example.com/", false),
            ("https://api.example.com.evil.test/", false),
            ("https://api.example.com@evil.test/", false),
            ("https://api.example.com:8443/", false),
            ("http://127.0.0.1/", false),
        ] {
            assert_eq!(outbound.allows(&origin_of(&uri.parse().unwrap())), expected, "{uri}");
        }
    }
}
