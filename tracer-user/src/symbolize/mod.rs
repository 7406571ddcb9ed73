//! Address to frames: function, file, line, inlined calls, or the reason why not.
