module heaptap.test/frames

go 1.18
