//! nginx as a reverse proxy with pooled connections: the yardstick.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A running nginx with a listener for each way of proxying.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    /// Nothing but proxying.
    pub(crate) plain: SocketAddr,
    /// With an access log.
    pub(crate) logged: SocketAddr,
    /// Without buffering, for streams.
    pub(crate) unbuffered: SocketAddr,
    /// With a cache, whose key holds path, credential and body.
    pub(crate) cached: SocketAddr,
}

impl Nginx {
    /// Starts it with so many workers in front of `upstream`. Its files go to `folder`.
    ///
    /// # Errors
    /// It does not start within five seconds.
    pub(crate) fn start(folder: &Path, upstream: SocketAddr, workers: usize) -> Result<Self> {
        let [plain, logged, unbuffered, cached] = free_ports()?;
        let config = folder.join("nginx.conf");
        fs::write(
            &config,
            configuration(
                folder,
                upstream,
                workers,
                [plain, logged, unbuffered, cached],
            ),
        )?;
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .arg("-e")
            .arg(folder.join("nginx-error.log"))
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(plain).is_err() {
            if Instant::now() > deadline || child.try_wait()?.is_some() {
                child.kill().ok();
                let said = fs::read_to_string(folder.join("nginx-error.log")).unwrap_or_default();
                bail!("nginx did not start:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            child,
            plain,
            logged,
            unbuffered,
            cached,
        })
    }

    /// Its master's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master takes its workers along.
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .ok();
        self.child.wait().ok();
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[SocketAddr; 4]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let held = [bind()?, bind()?, bind()?, bind()?];
    Ok([
        held[0].local_addr()?,
        held[1].local_addr()?,
        held[2].local_addr()?,
        held[3].local_addr()?,
    ])
}

fn configuration(
    folder: &Path,
    upstream: SocketAddr,
    workers: usize,
    [plain, logged, unbuffered, cached]: [SocketAddr; 4],
) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let server = |listen: SocketAddr, settings: &str| {
        format!(
            "    server {{\n        listen {listen};\n        {settings}\n        location / {{\n\
             \x20           proxy_pass http://provider;\n            proxy_http_version 1.1;\n\
             \x20           proxy_set_header Connection \"\";\n        }}\n    }}\n"
        )
    };
    format!(
        "daemon off;\nworker_processes {workers};\npid {folder}/nginx.pid;\n\
         error_log {folder}/nginx-error.log warn;\nevents {{ worker_connections 1024; }}\nhttp {{\n\
         {temporary}    proxy_cache_path {folder}/cache levels=1:2 keys_zone=answers:10m;\n\
         \x20   access_log off;\n    keepalive_requests 100000000;\n\
         \x20   upstream provider {{ server {upstream}; keepalive 64; keepalive_requests 100000000; \
         }}\n{}{}{}{}}}\n",
        server(plain, ""),
        server(logged, &format!("access_log {folder}/access.log;")),
        server(unbuffered, "proxy_buffering off;"),
        server(
            cached,
            "proxy_cache answers; proxy_cache_methods POST; proxy_cache_valid 200 1h; \
             proxy_cache_key $request_uri$http_authorization$request_body;"
        ),
    )
}
