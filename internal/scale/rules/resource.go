package rules

import (
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
)

// resource reads a rule about what replicas use: a share of what their containers
// may use (Utilization), or an amount (AverageValue).
func (r *Rule) resource(kind Kind, metadata map[string]string, t containerapp.Template) {
	r.Kind, r.Unit = kind, "cores"
	if kind == Memory {
		r.Unit = "bytes"
	}
	how := metadata["type"]
	if how == "" {
		how = metadata["metricType"]
	}
	switch {
	case metadata["containerName"] != "":
		r.fault("containerName", "is not supported: what all containers of a replica use is measured")
	case how == "" || strings.EqualFold(how, "Utilization"):
		r.Target = r.number(metadata, "value", 0) / 100 * allowed(kind, t)
	case strings.EqualFold(how, "AverageValue"):
		r.Target = r.amount(metadata["value"])
	default:
		r.fault("type", "must be Utilization or AverageValue, not "+strconv.Quote(how))
	}
	r.positive("value")
}

// allowed sums up what the containers of a replica may use.
func allowed(kind Kind, t containerapp.Template) (sum float64) {
	for _, c := range t.Containers {
		if c.Resources == nil {
			continue
		}
		if kind == CPU {
			sum += c.Resources.CPU
			continue
		}
		n, _ := containerapp.MemoryBytes(c.Resources.Memory)
		sum += float64(n)
	}
	return sum
}

// amounts are the suffixes that quantities may have.
var amounts = []struct {
	suffix string
	factor float64
}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}}

// amount reads a quantity such as 500m or 200Mi.
func (r *Rule) amount(text string) float64 {
	number, factor := text, 1.0
	for _, a := range amounts {
		if rest, found := strings.CutSuffix(text, a.suffix); found {
			number, factor = rest, a.factor
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0 && f <= 1e15) {
		r.fault("value", "must be an amount such as 500m or 200Mi, not "+strconv.Quote(text))
		return 0
	}
	return f * factor
}
