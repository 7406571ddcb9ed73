//! A Go program of somebody else, which nobody but its owner may read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use anyhow::Result;

use crate::fixture::{Fixture, Variant};
use crate::running::Running;

/// Its owner, who is nobody on any machine of the tests.
pub const OWNER: u32 = 4242;

/// It runs as its owner.
pub struct Owned {
    pub program: Running,
    _dir: tempfile::TempDir,
}

impl Owned {
    /// Starts the fixture `life` as a file called `owned`.
    pub fn start() -> Result<Self> {
        Self::of(&Fixture::build("life", "1.26", Variant::Stripped)?)
    }

    /// The same of another one.
    pub fn of(fixture: &Fixture) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let own = dir.path().join("owned");
        crate::copy(&fixture.program, &own)?;
        chown(&own, Some(OWNER), Some(OWNER))?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700))?;
        let mut command = as_user(OWNER);
        command.arg(&own);
        Ok(Self { program: Running::start(command)?, _dir: dir })
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// A command that runs what comes after it as an ordinary user.
pub fn as_user(user: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}")]).arg("--clear-groups");
    command
}
