package rpc

// Address gives where workers dial.
func (w *Worker) Address() string { return w.door.address }

// InTurn makes w choose its processes in turn.
func InTurn(w *Worker) {
	w.choose = func(live []*channel, turn int) *channel { return live[turn%len(live)] }
}

// HasDoor reports whether anything listens.
func (w *Worker) HasDoor() bool { return w.door != nil }

// FirstID gives the id of a process that serves.
func (w *Worker) FirstID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live[0].id
}
