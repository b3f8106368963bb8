//! Spawned work that shutdown waits for.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The server's long-running tasks, and the signal that ends them.
#[derive(Debug)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            set: Mutex::default(),
            stop: watch::channel(false).0,
        }
    }

    /// Starts a task. It must end soon after [`Tasks::stopping`] becomes true.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.lock().spawn(task);
    }

    /// Becomes true when the tasks shall end.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Asks the tasks to end and waits for them; after `grace`, `before_cut` is called and those
    /// that still run are cut. Returns whether all ended by themselves.
    pub(crate) async fn stop(&self, grace: Duration, before_cut: impl FnOnce()) -> bool {
        self.stop.send_replace(true);
        let mut set = std::mem::take(&mut *self.set.lock());
        let all = async { while set.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_ok() {
            return true;
        }
        before_cut();
        set.shutdown().await;
        false
    }
}
