//! The host's resolver configuration, `/etc/resolv.conf` (its manual page resolv.conf(5) is the specification).

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use mirage_rt::net::names::{MOST_SEARCH, MOST_SERVERS, Options, PORT};

/// Where it is.
pub const PATH: &str = "/etc/resolv.conf";
/// Bytes of the file that are read.
const MOST: u64 = 64 * 1024;
/// The bounds that resolv.conf(5) names.
const MOST_NDOTS: usize = 15;
const MOST_TIMEOUT: u64 = 30;
const MOST_ATTEMPTS: u32 = 5;

/// What the file at `path` says; `None` when there is none.
pub fn read(path: &Path) -> Option<Options> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut text).ok()?;
    Some(parse(&String::from_utf8_lossy(&text)))
}

/// What a file with this text says. Lines that make no sense are passed over. Without a server, one on this host is meant.
fn parse(text: &str) -> Options {
    let mut options = Options::new(Vec::<IpAddr>::new());
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                if let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>)
                    && options.servers.len() < MOST_SERVERS
                {
                    options.servers.push(SocketAddr::new(address, PORT));
                }
            }
            // The last line of the two kinds is the one that counts.
            Some("domain") => options.search = words.take(1).filter_map(|word| word.parse().ok()).collect(),
            Some("search") => {
                options.search = words.filter_map(|word| word.parse().ok()).take(MOST_SEARCH).collect();
            }
            Some("options") => words.for_each(|word| set(&mut options, word)),
            _ => {}
        }
    }
    if options.servers.is_empty() {
        options.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    }
    options
}

/// One word of an `options` line. Those that this resolver has no use for are many.
fn set(options: &mut Options, word: &str) {
    match word.split_once(':') {
        Some(("ndots", number)) => {
            if let Ok(number) = number.parse::<usize>() {
                options.ndots = number.min(MOST_NDOTS);
            }
        }
        Some(("timeout", number)) => {
            if let Ok(number) = number.parse::<u64>() {
                options.wait = Duration::from_secs(number.clamp(1, MOST_TIMEOUT));
            }
        }
        Some(("attempts", number)) => {
            if let Ok(number) = number.parse::<u32>() {
                options.rounds = number.clamp(1, MOST_ATTEMPTS);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> Vec<String> {
        options.search.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_says_whom_to_ask_and_how() {
        let options = parse(
            "# a comment\n; another\nnameserver 10.0.0.1\nnameserver\t2001:db8::53 \nnameserver none\n\
             search first.example second.example. bad..name\n options ndots:2 timeout:3 attempts:1 rotate ndots:x\n",
        );
        let servers: [SocketAddr; 2] =
            ["10.0.0.1:53", "[2001:db8::53]:53"].map(|text| text.parse().expect("an address"));
        assert_eq!(options.servers, servers);
        assert_eq!(names(&options), ["first.example", "second.example"]);
        assert_eq!((options.ndots, options.wait, options.rounds), (2, Duration::from_secs(3), 1));
        let options = parse("search a.example\ndomain b.example\noptions ndots:99 timeout:99 attempts:99");
        assert_eq!(names(&options), ["b.example"]);
        assert_eq!((options.ndots, options.wait, options.rounds), (15, Duration::from_secs(30), 5));
        assert_eq!(options.servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }

    #[test]
    fn no_text_is_too_much() {
        let text = "nameserver 10.0.0.1\n".repeat(1000) + "search" + &" a.example".repeat(1000);
        let options = parse(&text);
        assert_eq!((options.servers.len(), options.search.len()), (MOST_SERVERS, MOST_SEARCH));
        assert_eq!(read(Path::new("/nonexistent/resolv.conf")), None);
    }
}
