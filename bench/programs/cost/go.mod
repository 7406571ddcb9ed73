module cost

go 1.19
