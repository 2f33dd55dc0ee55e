package testworker

import (
	"fmt"
	"io"
	"net"
	"net/http"
)

// listen serves requests as they are. Each waits for the invocation of its id.
func (w *program) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.admits = map[string]chan bool{}
	all := map[string]string{"HttpUri": fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port)}
	for name, value := range w.script.Capabilities {
		all[name] = value
	}
	w.script.Capabilities = all
	go func() { _ = http.Serve(l, http.HandlerFunc(w.serveHTTP)) }()
	return nil
}

// meeting gives where request and invocation of an id meet.
func (w *program) meeting(id string) chan bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.admits[id] == nil {
		w.admits[id] = make(chan bool, 1)
	}
	return w.admits[id]
}

func (w *program) admit(id string, ok bool) { w.meeting(id) <- ok }

// serveHTTP echoes the body as it comes, with what the request said in headers.
// When the function failed it never answers.
func (w *program) serveHTTP(rw http.ResponseWriter, r *http.Request) {
	if !<-w.meeting(r.Header.Get("X-Ms-Invocation-Id")) {
		<-r.Context().Done()
		return
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Functions-Key"} {
		rw.Header().Set("Seen-"+name, r.Header.Get(name))
	}
	rw.Header().Set("Seen-Uri", r.RequestURI)
	rw.WriteHeader(http.StatusAccepted)
	control := http.NewResponseController(rw)
	_ = control.EnableFullDuplex()
	_ = control.Flush()
	buf := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		_, _ = rw.Write(buf[:n])
		_ = control.Flush()
		if err == io.EOF || err != nil {
			return
		}
	}
}
