//! Programs that others wrote, as clients of the site. Where one is not installed its part says so; under `CI=true` that fails.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;

use super::files;

/// Has curl and wrk use the site at `address`.
pub fn use_site(address: SocketAddr) {
    curl_gets_every_file(address);
    curl_keeps_its_connection(address);
    wrk_sees_no_errors(address);
}

/// What the program prints; `None` when it is not installed.
fn run(program: &str, words: &[String]) -> Option<Vec<u8>> {
    match Command::new(program).args(words).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {words:?}: {}: {said}", output.status);
            Some(output.stdout)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is not installed");
            eprintln!("SKIPPED: no test with {program}, which is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn curl(words: &[&str], urls: impl IntoIterator<Item = String>) -> Option<Vec<u8>> {
    // No proxy, whatever the environment says; and an end, if the site has none.
    let fixed = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
    let words = fixed.iter().chain(words).map(ToString::to_string);
    run("curl", &words.chain(urls).collect::<Vec<_>>())
}

fn curl_gets_every_file(address: SocketAddr) {
    for (path, expected) in files() {
        let Some(content) = curl(&["--fail", "--compressed"], [format!("http://{address}{path}")]) else { return };
        assert!(content == expected, "{path}");
    }
    let head = curl(&["--head", "--fail"], [format!("http://{address}/style.css")]).unwrap_or_default();
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.contains("200 ok") && head.contains("content-type: text/css"), "{head}");
    let code = curl(&["--output", "/dev/null", "--write-out", "%{http_code}"], [format!("http://{address}/none")]);
    assert_eq!(code.as_deref(), Some(&b"404"[..]));
}

/// Fifty requests on one connection, and fifty on eight at once.
fn curl_keeps_its_connection(address: SocketAddr) {
    let urls = || (0..50).map(|_| format!("http://{address}/style.css"));
    let (_, style) = files().into_iter().find(|(path, _)| path == "/style.css").expect("the site has a style");
    let Some(whole) = curl(&["--fail", "--write-out", "\n%{stderr}%{num_connects}\n"], urls()) else { return };
    assert_eq!(whole.len(), 50 * (style.len() + 1), "every answer, and a line's end behind each");
    let counted = curl(&["--fail", "--write-out", "\n%{num_connects} connects\n"], urls()).unwrap_or_default();
    let text = String::from_utf8_lossy(&counted);
    assert_eq!(text.matches("\n1 connects").count(), 1, "one connection for all");
    assert_eq!(text.matches("\n0 connects").count(), 49);
    let at_once = curl(&["--fail", "--parallel", "--parallel-max", "8"], urls()).unwrap_or_default();
    assert_eq!(at_once.len(), 50 * style.len());
}

/// A second of load on 32 connections.
fn wrk_sees_no_errors(address: SocketAddr) {
    let words = ["-t1", "-c32", "-d1s", "--latency"].map(String::from);
    let url = format!("http://{address}/style.css");
    let Some(output) = run("wrk", &words.into_iter().chain([url]).collect::<Vec<_>>()) else { return };
    let text = String::from_utf8_lossy(&output);
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let served = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse::<f64>().ok());
    assert!(served.is_some_and(|served| served > 50.0), "{text}");
}
