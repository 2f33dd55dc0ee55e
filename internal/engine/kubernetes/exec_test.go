package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/kubeapi/websocket"
)

type channel struct {
	conn *websocket.Conn
	no   byte
}

func (c channel) Write(b []byte) (int, error) {
	return len(b), c.conn.Write(append([]byte{c.no}, b...))
}

// exec answers the API server's calls for commands: they run the suite's program, or
// "cat", which gives back what it reads.
func (n *nodes) exec(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	protocol, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ",")
	w.Header().Set("Sec-WebSocket-Protocol", protocol)
	w.WriteHeader(http.StatusSwitchingProtocols)
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	conn := websocket.New(struct {
		io.Reader
		io.WriteCloser
	}{buffered, raw}, false)
	defer conn.Close()
	command := r.URL.Query()["command"]
	if command[0] == "cat" {
		for {
			m, err := conn.Read()
			if err != nil || m[0] == 255 {
				break
			}
			_, _ = channel{conn, 1}.Write(m[1:])
		}
		_, _ = channel{conn, 3}.Write([]byte(`{"status":"Success"}`))
		return
	}
	code := enginetest.Main(context.Background(), enginetest.World{Args: command, Stdout: channel{conn, 1}})
	status := `{"status":"Success"}`
	if code != 0 {
		status = fmt.Sprintf(`{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"%d"}]}}`, code)
	}
	_, _ = channel{conn, 3}.Write([]byte(status))
}
