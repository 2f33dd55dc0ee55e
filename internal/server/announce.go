package server

import "github.com/latchkey/latchkey/internal/instance"

// LogStart logs where the app is served and which functions it has: for programs
// that read logs, the counterpart of the table people get.
func (n *Node) LogStart(st instance.Status) {
	var names []string
	if m := n.Instance().Model(); m != nil {
		for _, f := range Describe(m, n.BaseURL()) {
			names = append(names, f.Name)
		}
	}
	n.log.Info("app started", "state", st.State, "url", n.BaseURL(), "metrics", n.OpsAddr(), "functions", names)
}

// LogWaiting logs what a start is waiting for.
func (n *Node) LogWaiting() {
	n.log.Info("waiting for the worker to take work: a custom handler must answer HTTP on the port in FUNCTIONS_CUSTOMHANDLER_PORT, a language worker load the app")
}
