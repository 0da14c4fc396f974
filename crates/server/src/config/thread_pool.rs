//! `thread_pool`: threads for work on disks, which may wait.
//!
//! ```nginx
//! thread_pool slow threads=8 max_queue=1024;
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use revolve_reactor::{PoolHandle, ThreadPool};

/// The name of the pool that is there without a directive.
pub(crate) const DEFAULT: &str = "default";

/// The threads of a pool without a directive, and what may wait for them; as in nginx.
const DEFAULT_THREADS: usize = 32;
const DEFAULT_QUEUED_MAX: usize = 65_536;

/// A pool of a configuration. Its threads begin when they are asked for first.
#[derive(Debug)]
pub(crate) struct DiskThreads {
    name: String,
    threads: usize,
    queued_max: usize,
    pool: OnceLock<Result<ThreadPool, String>>,
}

impl DiskThreads {
    fn new(name: &str, threads: usize, queued_max: usize) -> Self {
        Self {
            name: name.to_owned(),
            threads,
            queued_max,
            pool: OnceLock::new(),
        }
    }

    /// The pool, whose threads run from now on.
    ///
    /// Errors: the system has no more threads, in words.
    pub(crate) fn handle(&self) -> Result<PoolHandle, &str> {
        let build = || {
            let builder = ThreadPool::builder().threads(self.threads);
            let builder = builder.queued_max(self.queued_max.max(1)).name(&*self.name);
            builder.build().map_err(|error| error.to_string())
        };
        match self.pool.get_or_init(build) {
            Ok(pool) => Ok(pool.handle()),
            Err(error) => Err(error),
        }
    }

    /// How many jobs may wait for a thread.
    pub(crate) fn queued_max(&self) -> usize {
        self.queued_max
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The pools of a configuration, by name.
#[derive(Debug, Default)]
pub(crate) struct ThreadPools {
    pools: BTreeMap<String, Arc<DiskThreads>>,
}

impl ThreadPools {
    /// A pool by its name, if there is one; the default one always is.
    pub(crate) fn get(&mut self, name: &str) -> Option<Arc<DiskThreads>> {
        if name == DEFAULT {
            let default = || {
                Arc::new(DiskThreads::new(
                    DEFAULT,
                    DEFAULT_THREADS,
                    DEFAULT_QUEUED_MAX,
                ))
            };
            let pool = self.pools.entry(name.to_owned()).or_insert_with(default);
            return Some(Arc::clone(pool));
        }
        self.pools.get(name).cloned()
    }

    /// Adds a pool; false where there is one of this name.
    pub(crate) fn add(&mut self, name: &str, threads: usize, queued_max: Option<usize>) -> bool {
        let queued_max = queued_max.unwrap_or(DEFAULT_QUEUED_MAX);
        let pool = Arc::new(DiskThreads::new(name, threads, queued_max));
        let is_new = !self.pools.contains_key(name);
        self.pools.entry(name.to_owned()).or_insert(pool);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_begin_when_they_are_asked_for() {
        let mut pools = ThreadPools::default();
        assert!(pools.get("other").is_none());
        let default = pools.get(DEFAULT).expect("it is always there");
        assert!(default.pool.get().is_none());
        let few = DiskThreads::new("few", 1, 0);
        let (sender, receiver) = std::sync::mpsc::channel();
        let handle = few.handle().expect("a thread");
        handle
            .submit_blocking(move || sender.send(7).unwrap())
            .unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
}
