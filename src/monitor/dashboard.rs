//! The dashboard: one page with its styles, scripts and plotting library, all inside the program.
//!
//! Owns the list of files, their types and tags. Knows no number of the page: its scripts request
//! `/status`, `/topics` and `/connections`, and subscribe to the topic `fanwheel.status`.

use crate::base::snapshot::EmbeddedFile;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Name, type and bytes of each file.
const FILES: [(&str, &str, &[u8]); 30] = [
    ("index.html", HTML, include_bytes!("dashboard/index.html")),
    ("style.css", STYLE, include_bytes!("dashboard/style.css")),
    ("icon.svg", PICTURE, include_bytes!("dashboard/icon.svg")),
    ("app.js", SCRIPT, include_bytes!("dashboard/app.js")),
    ("alarms.js", SCRIPT, include_bytes!("dashboard/alarms.js")),
    ("classes.js", SCRIPT, include_bytes!("dashboard/classes.js")),
    ("dom.js", SCRIPT, include_bytes!("dashboard/dom.js")),
    ("events.js", SCRIPT, include_bytes!("dashboard/events.js")),
    ("fetch_json.js", SCRIPT, include_bytes!("dashboard/fetch_json.js")),
    ("figures.js", SCRIPT, include_bytes!("dashboard/figures.js")),
    ("format.js", SCRIPT, include_bytes!("dashboard/format.js")),
    ("glance.js", SCRIPT, include_bytes!("dashboard/glance.js")),
    ("log.js", SCRIPT, include_bytes!("dashboard/log.js")),
    ("marks.js", SCRIPT, include_bytes!("dashboard/marks.js")),
    ("operator_actions.js", SCRIPT, include_bytes!("dashboard/operator_actions.js")),
    ("page_figures.js", SCRIPT, include_bytes!("dashboard/page_figures.js")),
    ("page_memory.js", SCRIPT, include_bytes!("dashboard/page_memory.js")),
    ("pages.js", SCRIPT, include_bytes!("dashboard/pages.js")),
    ("plots.js", SCRIPT, include_bytes!("dashboard/plots.js")),
    ("ranges.js", SCRIPT, include_bytes!("dashboard/ranges.js")),
    ("recent_counts.js", SCRIPT, include_bytes!("dashboard/recent_counts.js")),
    ("seen_panel.js", SCRIPT, include_bytes!("dashboard/seen_panel.js")),
    ("settings.js", SCRIPT, include_bytes!("dashboard/settings.js")),
    ("source.js", SCRIPT, include_bytes!("dashboard/source.js")),
    ("stalled_readers.js", SCRIPT, include_bytes!("dashboard/stalled_readers.js")),
    ("theme.js", SCRIPT, include_bytes!("dashboard/theme.js")),
    ("time_series.js", SCRIPT, include_bytes!("dashboard/time_series.js")),
    ("uplot.js", SCRIPT, include_bytes!("../../vendor/uplot/uPlot.iife.min.js")),
    ("uplot.css", STYLE, include_bytes!("../../vendor/uplot/uPlot.min.css")),
    ("uplot-licence.txt", TEXT, include_bytes!("../../vendor/uplot/LICENSE")),
];

/// Finds a file by its name; `index.html` is the page.
pub(crate) fn asset(name: &str) -> Option<EmbeddedFile> {
    let &(_, content_type, bytes) = FILES.iter().find(|(known, ..)| *known == name)?;
    Some(EmbeddedFile { content_type, bytes, etag: entity_tag(bytes) })
}

/// Returns the client library of pages, which any page may load.
pub(crate) fn client_library() -> EmbeddedFile {
    let bytes = include_bytes!("../../clients/js/fanwheel.min.js");
    EmbeddedFile { content_type: SCRIPT, bytes, etag: entity_tag(bytes) }
}

/// Computes an entity tag from the bytes by FNV-1a: it only has to differ between versions. Requests for the
/// page are rare, so the tag is not kept.
fn entity_tag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("\"{hash:016x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        let asset = asset(name).expect("a file");
        String::from_utf8(asset.bytes.to_vec()).expect("UTF-8")
    }

    #[test]
    fn files_are_found_by_their_own_names_only() {
        for (name, ..) in FILES {
            let asset = asset(name).expect("a file");
            assert!(!asset.bytes.is_empty() && asset.etag.len() == 18, "{name}");
        }
        for name in ["", "/", "index", "INDEX.HTML", "../style.css", "style.css?x", "uPlot.min.css"] {
            assert_eq!(asset(name), None, "{name:?}");
        }
        assert_ne!(entity_tag(b"a"), entity_tag(b"b"));
    }

    /// The page's content policy would stop any of these, in a browser and without a word to us.
    #[test]
    fn the_page_needs_nothing_but_its_own_files() {
        let page = text("index.html");
        for part in page.split(['"', '\'']).filter(|part| part.starts_with("dashboard/")) {
            let name = part.trim_start_matches("dashboard/");
            assert!(asset(name).is_some(), "{part} is not a file");
        }
        for forbidden in ["http:", "https:", "style=", "onclick", "onload", "<style", "javascript:"] {
            assert!(!page.contains(forbidden), "the page holds {forbidden}");
        }
        for (name, kind, _) in FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT) {
            let script = text(name);
            let imports = script.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
            for import in imports {
                assert!(asset(import).is_some(), "{name} imports {import}");
            }
            for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!script.contains(markup), "{name} ({kind}) makes markup of text: {markup}");
            }
        }
    }
}
