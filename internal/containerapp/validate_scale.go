package containerapp

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known also on machines without their files
)

// custom checks the metadata of the scalers that are usual. Others are left to who
// runs them.
func (c *check) custom(at string, k CustomRule) {
	meta := at + ".metadata"
	switch k.Type {
	case "":
		c.field(at+".type", "", "there must be one")
	case "cpu", "memory":
		c.used(meta, k.Metadata)
	case "cron":
		c.cron(meta, k.Metadata)
	case "azure-queue":
		c.queueLength(at, k)
	}
}

// used checks a scaler of what replicas use. KEDA has the type in two places.
func (c *check) used(at string, m map[string]string) {
	switch how := m["type"] + m["metricType"]; how {
	case "", "Utilization":
		c.number(at+".value", m["value"], true)
	case "AverageValue":
		if m["value"] == "" {
			c.field(at+".value", "", "it must be an amount such as 500m or 200Mi")
		}
	default:
		c.field(at+".type", how, "it must be Utilization or AverageValue")
	}
}

func (c *check) cron(at string, m map[string]string) {
	c.number(at+".desiredReplicas", m["desiredReplicas"], true)
	if _, err := time.LoadLocation(m["timezone"]); err != nil || m["timezone"] == "" || m["timezone"] == "Local" {
		c.field(at+".timezone", m["timezone"], "it must be a time zone such as Europe/Berlin")
	}
	for _, key := range []string{"start", "end"} {
		if len(strings.Fields(m[key])) != 5 {
			c.field(at+"."+key, m[key], "it must be five fields: minute, hour, day, month and day of the week")
		}
	}
	if strings.Join(strings.Fields(m["start"]), " ") == strings.Join(strings.Fields(m["end"]), " ") {
		c.field(at+".end", m["end"], "it must not be the same as start")
	}
}

func (c *check) queueLength(at string, k CustomRule) {
	meta := at + ".metadata"
	if k.Metadata["queueName"] == "" {
		c.field(meta+".queueName", "", "there must be one")
	}
	if text, there := k.Metadata["queueLength"]; there {
		c.number(meta+".queueLength", text, true)
	}
	if text, there := k.Metadata["activationQueueLength"]; there {
		c.number(meta+".activationQueueLength", text, false)
	}
	switch {
	case k.Identity != "" && k.Metadata["accountName"] == "":
		c.field(meta+".accountName", "", "an identity needs one")
	case k.Identity == "" && len(k.Auth) == 0 && k.Metadata["connectionFromEnv"] == "":
		c.field(at, k.Type, "it needs an identity with an accountName, or auth, or connectionFromEnv")
	}
}

// number checks a number in the metadata of a scaler: not below 0, or above it.
func (c *check) number(field, text string, above bool) {
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case above && (err != nil || !(n > 0 && n <= 1e15)):
		c.field(field, text, "it must be a number above 0")
	case !above && (err != nil || !(n >= 0 && n <= 1e15)):
		c.field(field, text, "it must be a number that is not below 0")
	}
}
