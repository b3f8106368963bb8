//! The loopback bench: what a request costs directly, through nginx, and through Isango with
//! everything on, in interleaved rounds on the same machine.
//!
//! CPU time is the measured process's own (all threads, user and kernel), latency the client's.
//! Only ratios and differences within one run mean anything; other machines give other figures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::gateway::{self, Profile, Running};
use crate::shell::{self, Scratch};

mod load;
mod nginx;
mod process;
mod report;
mod upstream;

pub(crate) use load::{Connection, Target, request, small_request};
use nginx::Nginx;
use process::CpuTime;
use report::{Figures, Report};
pub(crate) use upstream::Upstream;

/// How long and how hard.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often each subject takes its turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of the longest phase of a turn; the others follow from it.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests per second of the open loop.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Events of a stream.
    #[arg(long, default_value_t = 100)]
    events: u64,
    /// Two short rounds.
    #[arg(long)]
    quick: bool,
    /// Fails where Isango costs more than 2.0 times nginx's CPU per small request, 1.5 times
    /// per hit of the cache, or 1.4 times per streamed event.
    #[arg(long)]
    gate: bool,
    /// Leaves Isango out: only the yardsticks.
    #[arg(long)]
    no_isango: bool,
    /// Writes the report to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Who is measured.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    /// Where whole answers come from.
    json: Target,
    /// Where streams come from; `None`: this subject is measured by whole answers only.
    streams: Option<Target>,
    /// The processes that are charged; none for the direct way.
    processes: Vec<u32>,
    figures: Figures,
}

/// Runs the bench.
///
/// # Errors
/// Something does not build, start or answer; or, with `--gate`, costs too much.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (rounds, seconds) = if options.quick {
        (options.rounds.min(2), options.seconds.min(0.8))
    } else {
        (options.rounds, options.seconds)
    };
    let longest = Duration::from_secs_f64(seconds);
    // Threads inherit the shortest timer slack there is: an open loop wakes when it is due.
    std::fs::write("/proc/self/timerslack_ns", "1").ok();

    let scratch = Scratch::new("bench")?;
    let upstream = Upstream::start()?;
    let nginx = start_nginx(&scratch, upstream.addr)?;
    let isango = start_isango(&scratch, upstream.addr, options.no_isango)?;
    let mut subjects = subjects(&upstream, nginx.as_ref(), isango.as_ref())?;
    std::thread::sleep(Duration::from_secs(1));
    for subject in &mut subjects {
        subject.figures.idle_kib = process::resident_kib(&subject.processes)?;
        // Connections, caches and branch predictors are warm before anything counts.
        load::closed_loop(&subject.json, options.connections, longest / 4)?;
    }
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        // Each round begins with another subject, so that drift hits all alike.
        let count = subjects.len();
        for turn in 0..count {
            let first = usize::try_from(round)? + turn;
            measure(&mut subjects[first % count], &upstream, options, longest)?;
        }
    }
    for subject in &mut subjects {
        subject.figures.loaded_kib = process::resident_kib(&subject.processes)?;
    }
    let report = Report::new(
        subjects
            .into_iter()
            .map(|subject| (subject.name, subject.figures)),
    );
    print!("\n{report}");
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(isango) = isango {
        isango.stop()?;
    }
    let failed = report.failed_gates();
    if options.gate && !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

fn start_nginx(scratch: &Scratch, upstream: SocketAddr) -> Result<Option<Nginx>> {
    if !shell::is_installed("nginx", "-v") {
        println!("nginx is not installed: there is no yardstick but the direct way");
        return Ok(None);
    }
    let workers = std::thread::available_parallelism()?.get();
    // A folder of its own: the gateway watches the one that its configuration is in.
    let folder = scratch.path().join("nginx");
    std::fs::create_dir(&folder)?;
    Nginx::start(&folder, upstream, workers).map(Some)
}

fn start_isango(
    scratch: &Scratch,
    upstream: SocketAddr,
    left_out: bool,
) -> Result<Option<Running>> {
    if left_out {
        return Ok(None);
    }
    let binary = gateway::build(Profile::Release)?;
    gateway::serve(
        &binary,
        &[],
        scratch.path(),
        &gateway::in_front_of(upstream),
    )
    .map(Some)
}

fn subjects(
    upstream: &Upstream,
    nginx: Option<&Nginx>,
    isango: Option<&Running>,
) -> Result<Vec<Subject>> {
    let subject = |name, json: Target, streams, processes| Subject {
        name,
        json,
        streams,
        processes,
        figures: Figures::default(),
    };
    let straight = |addr| Target {
        addr,
        path: "/v1/chat/completions".to_owned(),
    };
    let direct = straight(upstream.addr);
    let mut subjects = vec![subject("direct", direct.clone(), Some(direct), Vec::new())];
    if let Some(nginx) = nginx {
        let family = process::family(nginx.id())?;
        let streams = Some(straight(nginx.unbuffered));
        subjects.push(subject(
            "nginx",
            straight(nginx.plain),
            streams,
            family.clone(),
        ));
        subjects.push(subject(
            "nginx, access log",
            straight(nginx.logged),
            None,
            family.clone(),
        ));
        subjects.push(subject(
            "nginx, cache",
            straight(nginx.cached),
            None,
            family,
        ));
    }
    if let Some(isango) = isango {
        let target = through(isango)?;
        subjects.push(subject(
            "isango",
            target.clone(),
            Some(target.clone()),
            vec![isango.id()],
        ));
        let cached = Target {
            path: target.path.replace("/default/", "/cached/"),
            ..target
        };
        subjects.push(subject("isango, cache", cached, None, vec![isango.id()]));
    }
    Ok(subjects)
}

/// The provider `openai` behind a running gateway.
///
/// # Errors
/// The gateway's address is none.
pub(crate) fn through(isango: &Running) -> Result<Target> {
    let addr = isango
        .address("data")?
        .parse()
        .context("the data plane's address")?;
    Ok(Target {
        addr,
        path: "/v1/local/default/openai/chat/completions".to_owned(),
    })
}

/// One turn of one subject.
fn measure(
    subject: &mut Subject,
    upstream: &Upstream,
    options: &Options,
    longest: Duration,
) -> Result<()> {
    let processes = subject.processes.clone();
    let charged = |work: &mut dyn FnMut() -> Result<u64>| -> Result<f64> {
        let before = CpuTime::now(&processes)?;
        let count = work()?;
        let used = CpuTime::now(&processes)?.since(&before);
        Ok(report::as_f64(used) / report::as_f64(count.max(1)) / 1_000.0)
    };
    let json = &subject.json;
    let figures = &mut subject.figures;
    let mut count = 0;
    let cpu = charged(&mut || {
        count = load::closed_loop(json, options.connections, longest)?;
        Ok(count)
    })?;
    figures.cpu_us_per_request.push(cpu);
    let per_second = report::as_f64(count) / longest.as_secs_f64();
    figures.per_second.push(per_second);
    let Some(streams) = &subject.streams else {
        return Ok(());
    };
    figures.open_ns.extend(load::open_loop(
        json,
        options.connections,
        options.rate,
        longest,
    )?);
    figures.alone_ns.extend(load::alone(json, longest / 3)?);
    figures
        .first_event_ns
        .extend(load::first_events(streams, longest / 3)?);
    let (connections, events) = (options.connections.min(upstream::LANES), options.events);
    let shape = (connections, events);
    let cpu = charged(&mut || load::stepped(streams, upstream, shape, longest))?;
    figures.cpu_us_per_event.push(cpu);
    let cpu = charged(&mut || load::flood(streams, shape, longest / 2))?;
    figures.cpu_us_per_flood_event.push(cpu);
    Ok(())
}
