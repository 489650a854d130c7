//! A page of 1 KiB over HTTP, connections kept: on the host's sockets beside other servers, and on a tap device beside a plain
//! smoltcp interface.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mirage_bench::figures::{Figure, Samples};

use crate::namespace::Namespace;
use crate::programs::{Load, Server, command};
use crate::{Bench, Result, build};

/// Connections that ask at the same time.
const CONNECTIONS: [usize; 2] = [32, 1000];

/// A server that is measured.
struct Row {
    name: &'static str,
    command: Command,
    ready: Option<&'static str>,
    rate: Samples,
    cost: Samples,
    late: Samples,
    busy: Samples,
}

impl Row {
    fn new(name: &'static str, command: Command, ready: Option<&'static str>) -> Row {
        Row {
            name,
            command,
            ready,
            rate: Samples::default(),
            cost: Samples::default(),
            late: Samples::default(),
            busy: Samples::default(),
        }
    }

    fn measure(&mut self, bench: &Bench, namespace: &Namespace, address: &str, connections: usize) -> Result {
        let server = Server::start(namespace, &self.command, self.ready)?;
        let (warmup, measured) = if bench.quick { ("100", "500") } else { ("300", "1500") };
        let client = command(build::peer("load-http"), &[address, &connections.to_string(), warmup, measured]);
        let load = Load::run(namespace, &client, &server).map_err(|error| format!("{}: {error}", self.name))?;
        let (requests, seconds) = (load.number(0)?, load.number(1)?);
        self.rate.push(requests / seconds);
        self.cost.push(load.server / requests * 1e6);
        self.late.push(load.number(3)?);
        self.busy.push(load.server / seconds * 100.0);
        Ok(())
    }
}

/// Prints all rows, the first beside the others.
fn print(rows: &[Row]) {
    println!(
        "  {:26} {:>24} {:>26} {:>24} {:>6} {:>6} {:>6} {:>6}",
        "min / median / max", "CPU µs per request", "requests per second", "p99 µs", "busy", "CPU", "rate", "p99"
    );
    let Some(own) = rows.first() else { return };
    for row in rows {
        let ratio = |own: &Samples, other: &Samples| own.ratio(other).map_or("-".into(), |ratio| format!("{ratio:.2}"));
        println!(
            "  {:26} {:>24} {:>26} {:>24} {:>5.0}% {:>6} {:>6} {:>6}",
            row.name,
            row.cost.to_string(),
            row.rate.to_string(),
            row.late.to_string(),
            row.busy.median().unwrap_or(0.0),
            ratio(&own.cost, &row.cost),
            ratio(&own.rate, &row.rate),
            ratio(&own.late, &row.late)
        );
    }
    println!("  busy: of a processor, by the server; the last three: {} divided by this row", own.name);
}

/// On the host's sockets, over the loopback interface of a namespace.
pub fn sockets(bench: &Bench) -> Result<Vec<Figure>> {
    let site = build::site();
    let namespace = Namespace::new()?;
    let nginx = Nginx::new()?;
    let mut figures = Vec::new();
    for connections in CONNECTIONS {
        let own = command(&site, &["--ipv4", "127.0.0.1/8", "--port", "8080"]);
        let mut rows = vec![
            Row::new("ours", own, Some("serving")),
            Row::new("bare epoll", command(build::peer("epoll-http"), &["127.0.0.1:8081"]), Some("serving")),
            Row::new("tokio", command(build::peer("tokio-http"), &["127.0.0.1:8082"]), Some("serving")),
        ];
        let mut ports = vec!["8080", "8081", "8082"];
        if let Some(nginx) = &nginx {
            rows.push(Row::new("nginx, one worker", nginx.command()?, None));
            ports.push("8083");
        }
        for _ in 0..bench.rounds() {
            for (row, port) in rows.iter_mut().zip(&ports) {
                row.measure(bench, &namespace, &format!("127.0.0.1:{port}"), connections)?;
            }
        }
        println!("\nHTTP on the host's sockets, {connections} connections");
        print(&rows);
        let rate = |other: usize| rows.get(other).and_then(|other| rows[0].rate.ratio(&other.rate));
        let name = |what: &str| format!("http-sockets-{connections}-{what}");
        figures.push(Figure::at_least(&name("rate-of-nginx"), rate(3), 1.5));
        figures.push(Figure::at_least(&name("rate-of-tokio"), rate(2), 1.2));
        figures.push(Figure::at_least(&name("rate-of-epoll"), rate(1), 0.9));
        let late = rows.get(3).and_then(|nginx| rows[0].late.ratio(&nginx.late));
        figures.push(Figure::at_most(&name("p99-of-nginx"), late, 1.0));
    }
    Ok(figures)
}

/// On a tap device.
pub fn tap(bench: &Bench) -> Result<Vec<Figure>> {
    let site = build::site();
    let namespace = Namespace::new()?;
    namespace.tap(1)?;
    namespace.tap(2)?;
    let mut figures = Vec::new();
    for connections in CONNECTIONS {
        let own = command(&site, &["--interface", "tap1", "--ipv4", "10.1.0.2/24", "--port", "80"]);
        let number = connections.to_string();
        let plain = command(build::peer("smoltcp-tap"), &["tap2", "10.2.0.2:80", &number, "http"]);
        let mut rows =
            [Row::new("ours", own, Some("serving")), Row::new("plain smoltcp, fixed answer", plain, Some("serving"))];
        for _ in 0..bench.rounds() {
            for (row, address) in rows.iter_mut().zip(["10.1.0.2:80", "10.2.0.2:80"]) {
                row.measure(bench, &namespace, address, connections)?;
            }
        }
        println!("\nHTTP on a tap device, {connections} connections");
        print(&rows);
        let cost = rows[0].cost.ratio(&rows[1].cost);
        figures.push(Figure::at_most(&format!("http-tap-{connections}-cpu-of-smoltcp"), cost, 1.0));
    }
    Ok(figures)
}

/// nginx from Debian's packages, with a folder for what it writes.
struct Nginx {
    programs: mirage_lab::Programs,
    folder: PathBuf,
}

impl Nginx {
    /// `None` where the packages can't be had.
    fn new() -> Result<Option<Nginx>> {
        let programs = match mirage_lab::Programs::fetch() {
            Ok(programs) => programs,
            Err(error) => {
                println!("LEFT OUT: nginx, which is in Debian's packages: {error}");
                return Ok(None);
            }
        };
        let folder = mirage_tests::target().join("nginx");
        fs::create_dir_all(&folder)?;
        let path = folder.display();
        // One process, which is the worker: `return` is the fastest that it can do.
        let settings = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             access_log off;\nkeepalive_requests 1000000000;\ntcp_nodelay on;\ndefault_type text/html;\n\
             client_body_temp_path {path};\nproxy_temp_path {path};\nfastcgi_temp_path {path};\n\
             uwsgi_temp_path {path};\nscgi_temp_path {path};\n\
             server {{ listen 127.0.0.1:8083 backlog=4096; location / {{ return 200 \"{}\"; }} }}\n\
             }}\n",
            "x".repeat(1024)
        );
        fs::write(folder.join("nginx.conf"), settings)?;
        Ok(Some(Nginx { programs, folder }))
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.programs.command("nginx")?;
        command.arg("-p").arg(&self.folder).arg("-e").arg(self.folder.join("error.log"));
        command.arg("-c").arg(self.folder.join("nginx.conf"));
        Ok(command)
    }
}
