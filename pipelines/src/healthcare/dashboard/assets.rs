//! The pages, inside the binary: they come from nowhere else.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use thalweg_serving::http::Routes;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($path:literal = $kind:ident $file:literal),+ $(,)?) => {
        /// Path, type, bytes.
        const ASSETS: &[(&str, &str, &[u8])] =
            &[$(($path, $kind, include_bytes!(concat!("web/", $file)))),+];
    };
}

assets! {
    "/" = HTML "index.html",
    "/app.css" = CSS "app.css",
    "/icon.svg" = SVG "icon.svg",
    "/theme.js" = JS "theme.js",
    "/app.js" = JS "app.js",
    "/store.js" = JS "store.js",
    "/courses.js" = JS "courses.js",
    "/dom.js" = JS "dom.js",
    "/format.js" = JS "format.js",
    "/charts.js" = JS "charts.js",
    "/bars.js" = JS "bars.js",
    "/pages/monitoring.js" = JS "pages/monitoring.js",
    "/pages/kpis.js" = JS "pages/kpis.js",
    "/pages/alerts.js" = JS "pages/alerts.js",
    "/pages/answers.js" = JS "pages/answers.js",
    "/pages/patient.js" = JS "pages/patient.js",
    "/pages/compare.js" = JS "pages/compare.js",
    "/pages/pipeline.js" = JS "pages/pipeline.js",
    "/vendor/uplot/uPlot.iife.min.js" = JS "vendor/uplot/uPlot.iife.min.js",
    "/vendor/uplot/uPlot.min.css" = CSS "vendor/uplot/uPlot.min.css",
    "/vendor/uplot/LICENSE" = TEXT "vendor/uplot/LICENSE",
}

/// Adds a route for each file.
pub(super) fn add(routes: Routes) -> Routes {
    ASSETS.iter().fold(routes, |routes, &(path, kind, bytes)| {
        routes.file(path, async move |headers: HeaderMap| answer(&headers, kind, bytes))
    })
}

/// A browser asks again each time and is told that nothing changed: a new program never meets old pages.
fn answer(headers: &HeaderMap, kind: &'static str, bytes: &'static [u8]) -> Response {
    let tag = format!("\"{:x}\"", checksum(bytes));
    let caching = [(ETAG, tag.clone()), (CACHE_CONTROL, "private, no-cache".to_owned())];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, kind)], bytes).into_response()
}

/// FNV-1a: it tells two versions of a file apart and need not withstand anybody.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
