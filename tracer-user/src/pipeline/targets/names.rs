//! Reads what names the addresses of a file beside the recording, once the file is attached.
//!
//! In: binaries. Out: nothing; they have been completed. The thread begins with the recording, so that it
//! has no part in the priority that the recording gives itself when it looks at new processes.

use std::{
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
};

use crate::gobin::GoBinary;

/// The thread; it ends with this.
pub struct Names(Sender<Arc<GoBinary>>);

impl Names {
    pub fn start() -> Self {
        let (sender, binaries) = channel::<Arc<GoBinary>>();
        thread::spawn(move || {
            for go in binaries {
                go.complete();
            }
        });
        Self(sender)
    }

    /// Reads those of a binary, soon. They are read when they are needed first if that comes before.
    pub fn read(&self, go: &Arc<GoBinary>) {
        let _ = self.0.send(Arc::clone(go));
    }
}
