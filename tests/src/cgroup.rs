//! Control groups with a limit of memory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A control group made for a test, with another one in it; removed with it.
pub struct Groups {
    outer: PathBuf,
    inner: PathBuf,
    /// Names of the files that tell use and limit.
    files: [&'static str; 2],
}

impl Groups {
    /// In the hierarchy that has the memory controller on this host.
    ///
    /// # Errors
    /// They can't be made: no root, no memory controller.
    pub fn new(name: &str, outer_limit: u64, inner_limit: u64) -> Result<Groups> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let is_v1 = own.lines().any(|line| line.split(':').nth(1) == Some("memory"));
        let (root, files) = match is_v1 {
            true => ("/sys/fs/cgroup/memory", ["memory.usage_in_bytes", "memory.limit_in_bytes"]),
            false => ("/sys/fs/cgroup", ["memory.current", "memory.max"]),
        };
        let outer = Path::new(root).join(format!("heaptap-test-{name}-{}", std::process::id()));
        let groups = Groups { inner: outer.join("inner"), outer, files };
        let limits = [(&groups.outer, outer_limit), (&groups.inner, inner_limit)];
        for (at, (group, limit)) in limits.into_iter().enumerate() {
            fs::create_dir(group).with_context(|| group.display().to_string())?;
            fs::write(group.join(files[1]), limit.to_string())?;
            if !is_v1 && at == 0 {
                fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory")?;
                fs::write(group.join("cgroup.subtree_control"), "+memory")?;
            }
        }
        Ok(groups)
    }

    /// Puts a process into the inner one.
    ///
    /// # Errors
    /// It is gone.
    pub fn enter(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.inner.join("cgroup.procs"), pid.to_string())?)
    }

    /// Bytes used in the inner one.
    ///
    /// # Errors
    /// It can't be read.
    pub fn usage(&self) -> Result<u64> {
        Ok(fs::read_to_string(self.inner.join(self.files[0]))?.trim().parse()?)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Nobody is in them any more, unless the test has failed.
        let _ = fs::remove_dir(&self.inner);
        let _ = fs::remove_dir(&self.outer);
    }
}
