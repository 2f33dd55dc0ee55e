package rpc

// Address gives where workers dial.
func (w *Worker) Address() string { return w.door.address }

// FirstID gives the id of a process that serves.
func (w *Worker) FirstID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live[0].id
}
